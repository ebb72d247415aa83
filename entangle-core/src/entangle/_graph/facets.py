"""One fact that a decorator states about a task."""

from __future__ import annotations

from typing import Any, NamedTuple

from entangle._graph.callables import kind_of
from entangle._graph.frames import getframe
from entangle._graph.target import Settings


class Facet(NamedTuple):
    """One fact, who stated it, where.

    Two facets with the same key and value state the same, wherever they were
    written.

    Attributes:
        key: What it is about: ``'how'``, ``'firing'``, ``'where'``, ``'scheduler'``
            or the name of an option.
        value: What it says; hashable.
        decorator: The decorator, as people write it: ``@process``.
        origin: Where that was written, as ``file:line``.
    """

    key: str
    value: object
    decorator: str
    origin: str

    def __str__(self) -> str:
        """Show the decorator, what it says and where it was written."""
        if self.key in _NAMES_ITSELF or isinstance(self.value, Settings):
            return f"{self.summary()} ({self.origin})"
        return f"{self.summary()} of {self.decorator} ({self.origin})"

    def summary(self) -> str:
        """Show what is stated, without who and where."""
        if isinstance(self.value, Settings):
            return f"@{self.value!r}" if self.value.options else self.decorator
        if self.key in _NAMES_ITSELF:
            return self.decorator
        return f"{_OPTIONS.get(self.key, self.key)}={_shown(self.value)}"


# Options whose keys are not what people write, since another decorator has that option.
_OPTIONS = {"children": "executor"}

# Facets that a bare decorator states: its name says all.
_NAMES_ITSELF = frozenset({"how", "firing", "where", "scheduler"})


def _shown(value: Any) -> str:
    """Show a value as people write it."""
    if issubclass(kind_of(value), tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, type):
        return value.__qualname__
    return repr(value)


def written_at() -> str:
    """Find the line outside this library that the current call comes from.

    Returns:
        The place as ``file:line``.
    """
    frame = getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.startswith("entangle.")
