"""Several tiny functions as one call, each fed with the value of the one before it.

For the functions it is as if each had been called by itself: it gets a value of its
own, not the object that the one before may have kept.
"""

from __future__ import annotations

import sys

from . import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Chain:
    """A callable that calls functions one after the other. Immutable; pickles.

    Attributes:
        functions: What it calls; the first with its own arguments.
        notes: Of each, what an error of it is told to come from.
    """

    def __init__(
        self, functions: Sequence[Callable[..., Any]], notes: Sequence[str], name: str
    ) -> None:
        """Keep the functions, and the name by which errors call the chain."""
        self.functions = tuple(functions)
        self.notes = tuple(notes)
        self.__qualname__ = self.__name__ = name

    def __call__(self, *values: Any) -> Any:
        """Call all functions; an error says which one it is of."""
        number = 0
        functions = self.functions
        try:
            value = functions[0](*values)
            for number in range(1, len(functions)):
                if type(value) not in codec.ATOMS:
                    value = _handed_on(value)
                value = functions[number](value)
        except BaseException as error:
            if hasattr(error, "add_note"):
                error.add_note(self.notes[number])
            raise
        return value


def _handed_on(value: Any) -> Any:
    """Return what the next function gets: a copy, and no nodes but their values."""
    if codec.simple(value):
        return value if type(value) in {tuple, frozenset} else value.copy()
    # Where the graph is not loaded nothing can have built a node.
    if "entangle._graph.node" in sys.modules:
        from entangle._graph.pack import contains_node, resolved

        if contains_node(value):
            value = resolved(value)
    return codec.decode(codec.encode(value, "result"))
