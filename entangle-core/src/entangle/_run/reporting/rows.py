"""The form that lines of a report have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle._clean import one_line
from entangle._graph.callables import short as short_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from entangle._graph.node import Node

WIDTH: Final = 100  # columns
_WORD: Final = 10  # columns in front of what is said around a failure
_INDENT: Final = "  "


def row(word: str, text: str) -> str:
    """Return a line that begins with a word in a column of its own."""
    return f"{word:<{_WORD}} {text}"


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Give lines as they stand below a failure's head."""
    for line in lines:
        yield f"{_INDENT}{line}".rstrip()


def name_of(node: Node[Any]) -> str:
    """Return the name of a node's task, as a report has it."""
    return one_line(short_name(node.name), 60)
