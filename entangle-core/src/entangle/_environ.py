"""Variables of the environment that each run asks for."""

from __future__ import annotations

import os
from typing import Final

_POSIX: Final = os.name == "posix"


def variable(name: str) -> str:
    """Return what a variable says now; empty where it isn't set.

    As ``os.environ.get(name, "")``, which takes ten times as long for one that isn't.
    """
    kept: dict[bytes, bytes] | None = getattr(os.environ, "_data", None)
    if not _POSIX or kept is None:  # the program has put a mapping of its own there
        return os.environ.get(name, "")
    value = kept.get(name.encode())
    return os.fsdecode(value) if value else ""
