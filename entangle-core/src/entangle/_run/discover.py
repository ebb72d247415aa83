"""Finding the nodes that a run has to add, inputs before their consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from entangle._graph.callables import kind_of
from entangle._graph.node import Node
from entangle._graph.walk import edges, edges_in
from entangle.errors import CompositionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.task import Task


class Discovered:
    """What a value refers to.

    Attributes:
        roots: The edges in the value itself.
        order: The edges that the run doesn't know, inputs first, leaves in the order
            in which they are written; with nothing yet that they stand for.
        inputs: Those of them that have inputs, with these.
        alike: Those of them that are nodes, in this order: neighbours of one task
            together.
        others: Those that are not.
    """

    __slots__ = ("alike", "inputs", "order", "others", "roots")

    def __init__(self, roots: list[Any]) -> None:
        self.roots = roots
        self.order: dict[Any, Any] = {}
        self.inputs: dict[Any, list[Any]] = {}
        self.alike: list[tuple[Task[..., Any], list[Node[Any]]]] = []
        self.others: list[Any] = []


def is_node(edge: Any) -> TypeGuard[Node[Any]]:
    """Tell whether an edge is a node, not a future."""
    return type(edge) is Node


def has_body(edge: Any) -> bool:
    """Tell whether an edge is a node that runs somewhere."""
    return is_node(edge) and edge.task.options.how != "assemble"


def has_edges(value: Any) -> bool:
    """Tell whether a value is or contains an edge."""
    return bool(edges_in(value))


def discover(value: Any, known: Callable[[Any], bool] | None = None) -> Discovered:
    """Find the edges in a value and, transitively, in their arguments.

    Args:
        value: What was asked for or returned.
        known: Tells whether an edge need not be looked into again; None if there is
            none.

    Raises:
        CompositionError: a node is among its own inputs.
    """
    found = Discovered(edges_in(value))
    order, entered = found.order, found.inputs
    last: Task[..., Any] | None = None
    alike: list[Node[Any]] = []
    stack = found.roots[::-1]
    while stack:
        edge = stack[-1]
        if edge in order or (known is not None and known(edge)):
            stack.pop()
            continue
        if kind_of(edge) is not Node:
            found.others.append(edge)
        elif edge in entered or not (inputs := edges(edge)):
            if edge.task is not last:
                last, alike = edge.task, []
                found.alike.append((edge.task, alike))
            alike.append(edge)
        else:
            entered[edge] = inputs
            for other in reversed(inputs):
                if other not in order:
                    if other in entered:
                        raise _knot(edge)
                    stack.append(other)
            continue
        stack.pop()
        order[edge] = None
    return found


def _knot(edge: Node[Any]) -> CompositionError:
    return CompositionError(
        f"{edge!r} is among its own inputs: a list or dict that was given to it was "
        "changed to contain a node made from it"
    )
