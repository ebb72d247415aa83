"""Loggers that cost nothing until there is something to say.

Importing `logging` takes longer than a run; most programs never log a line of ours.
"""

from __future__ import annotations

from typing import Any


class Log:
    """Stands for the logger of a name: every method is that logger's own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        """Look the logger up and return its method."""
        from logging import getLogger

        return getattr(getLogger(self._name), method)
