"""Data on stdout, for programs."""

from __future__ import annotations

import json


def printed(data: object) -> None:
    """Print data as JSON; what has no form there, as it is shown to people."""
    print(json.dumps(data, indent=1, default=_shown))


def _shown(value: object) -> object:
    from entangle._graph.shown import shown

    return shown(value)
