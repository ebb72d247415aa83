"""What a run's items have come to, put where their nodes were written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._engine_items import FAILED
from entangle._graph.node import Node
from entangle._worker import codec

from .notes import note_path
from .values import assemble

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from entangle._engine_items import Item

    from .calls import NodeCall

_NODES = frozenset((Node,))


class Outcomes:
    """Gives the values of edges. Inside the monitor only."""

    def __init__(self) -> None:
        self.items: Mapping[Any, Item] = {}

    def fill(self, call: NodeCall) -> None:
        """Give a call its arguments.

        Raises:
            TypeError: a value can't be where its node was: a list, say, in a set.
        """
        node, inputs = call.node, call.item.inputs
        args = node.args
        if node.kwargs is not None:
            call.kwargs = {name: self.of(value) for name, value in node.kwargs.items()}
        elif (
            len(inputs) == len(args)
            and node.follows is None
            and _NODES.issuperset(map(type, args))
        ):
            # Nodes alone, each once: these are the inputs, in this order.
            call.args = tuple(_outcomes(inputs))
            return
        call.args = tuple([self.of(value) for value in args])

    def of(self, value: Any) -> Any:
        """Return a value with outcomes in the place of edges.

        Raises:
            TypeError: as `fill`.
        """
        if type(value) in codec.ATOMS:
            return value
        if type(value) is Node:
            return self._of_edge(value)
        return assemble(value, self._of_edge)

    def _of_edge(self, edge: Any) -> Any:
        item = self.items[edge]
        return item.value if item.status != FAILED else _outcome(item)


def _outcomes(items: Iterable[Item]) -> list[Any]:
    return [item.value if item.status != FAILED else _outcome(item) for item in items]


def _outcome(item: Item) -> Any:
    if item.status == FAILED and item.error is not None:
        # An error that is delivered as a value: it says where it came from, too.
        note_path(item.error, item)
    return item.value
