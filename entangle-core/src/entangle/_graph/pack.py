"""Nodes as plain data, for the one journey they make: back from a worker.

Nodes do not pickle, and pickling what refers to what refers to what recurses. A
packed graph is flat: rows in an order in which each only refers to earlier ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from entangle._graph.callables import kind_of
from entangle._graph.naming import own
from entangle._graph.node import Node, build
from entangle._graph.walk import edges, edges_in, substitute
from entangle.errors import UnpicklableError

if TYPE_CHECKING:
    from entangle._graph.task import Task


class Place:
    """Stands for the node of one row, wherever that node was."""

    __slots__ = ("row",)

    def __init__(self, row: int) -> None:
        """Stand for the node of that row."""
        self.row = row

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the number of the row."""
        return Place, (self.row,)


_PLACES = frozenset({Place})


class Row(NamedTuple):
    """One node.

    Attributes:
        task: The number of the task.
        args: The arguments, with places for nodes.
        kwargs: The keyword arguments likewise, or None.
        follows: The places of what must have ended before, or None.
        where: The line that built the node.
    """

    task: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any] | None
    follows: tuple[Place, ...] | None
    where: str


class Packed(NamedTuple):
    """A value that contains nodes.

    Attributes:
        tasks: The tasks, each once.
        rows: The nodes, each once, after those it refers to.
        value: The value, with places for nodes.
    """

    tasks: tuple[Task[..., Any], ...]
    rows: tuple[Row, ...]
    value: Any


def contains_node(value: Any) -> bool:
    """Tell whether a value is a node or contains one."""
    return bool(edges_in(value))


def resolved(value: Any) -> Any:
    """Run the nodes that a value contains, and put theirs in their places."""
    # Imported here: it is made of tasks, which load this module.
    from entangle._graph.ops import same

    return same(value)()


def pack(value: Any) -> Packed:
    """Turn a value that contains nodes into plain data.

    Args:
        value: Anything; nodes in it, and in their arguments, are found as edges.

    Raises:
        UnpicklableError: If a run that is under way is among the arguments: it
            belongs to its process.
    """
    order = _sorted(value)
    rows: dict[Any, int] = {node: row for row, node in enumerate(order)}
    tasks: dict[Task[..., Any], int] = {}
    places = [Place(row) for row in range(len(order))]

    lines: dict[tuple[Any, int], str] = {}

    def place(node: Any) -> Place:
        return places[rows[node]]

    def line(node: Node[Any]) -> str:
        # A wide graph comes from few lines, and finding one costs a walk of its code.
        key = node.code, node.lasti
        if key not in lines:
            lines[key] = node.where
        return lines[key]

    packed = tuple(
        Row(
            tasks.setdefault(node.task, len(tasks)),
            substitute(node.args, place),
            substitute(node.kwargs, place),
            substitute(node.follows, place),
            line(node),
        )
        for node in order
    )
    return Packed(tuple(tasks), packed, substitute(value, place))


def _sorted(value: Any) -> list[Node[Any]]:
    """List the nodes of a value, each after those it refers to."""
    order: list[Node[Any]] = []
    entered: dict[Any, bool] = {}
    stack = edges_in(value)[::-1]
    while stack:
        node = stack[-1]
        if node in entered:
            stack.pop()
            if not entered[node]:
                entered[node] = True
                order.append(node)
            continue
        if kind_of(node) is not Node:
            raise UnpicklableError(
                path="a run that is under way",
                reason=f"a {type(node).__qualname__} belongs to the process that "
                "started it; return its value",
            )
        entered[node] = False
        for edge in reversed(edges(node)):
            if edge not in entered:
                stack.append(edge)
            elif not entered[edge]:
                raise UnpicklableError(
                    path="an argument of a returned node",
                    reason="it contains the node itself",
                    node=node.name,
                )
    return order


def unpack(packed: Packed) -> Any:
    """Make the value again, with new nodes."""
    nodes: list[Node[Any]] = []
    tasks = [own(task) for task in packed.tasks]

    def node(place: Place) -> Node[Any]:
        return nodes[place.row]

    for row in packed.rows:
        task = tasks[row.task]
        args = substitute(row.args, node, _PLACES)
        kwargs = substitute(row.kwargs, node, _PLACES)
        follows = substitute(row.follows, node, _PLACES)
        nodes.append(build(task, args, kwargs, row.where, 0, follows))
    return substitute(packed.value, node, _PLACES)
