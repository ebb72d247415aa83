"""A graph as numbers: what is drawn, what leads where, what is built alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from entangle._graph.callables import kind_of
from entangle._graph.flow import Flow
from entangle._graph.node import Node
from entangle._graph.program import GIVEN, Program
from entangle._graph.walk import edges, inputs_first

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    ArrowKind = Literal["value", "order", "choice"]
    Root: TypeAlias = Node[Any] | Flow | Program


class Found(NamedTuple):
    """A graph, before it is decided what is drawn as one.

    Attributes:
        items: Nodes, flows, and what else is drawn.
        sites: By what items are alike: their task, and the line that built them.
        arrows: From, to, and the kind.
    """

    items: list[Any]
    sites: list[Any]
    arrows: list[tuple[int, int, ArrowKind]]


class Choice:
    """A place where a function stands that chooses; each decides for itself."""

    __slots__ = ("choose", "parent")

    def __init__(self, choose: Any, parent: Flow) -> None:
        self.choose = choose
        self.parent = parent


def found(root: Root) -> Found:
    """List what a graph is made of; nothing runs.

    Args:
        root: A node, a flow, or a flow as a run takes it.
    """
    given: Any = root
    if kind_of(given) is Node:
        return _of_node(given)
    return _of_program(given) if isinstance(given, Program) else _of_flow(given)


def _of_node(root: Node[Any]) -> Found:
    order = inputs_first(
        root, lambda each: edges(each) if kind_of(each) is Node else ()
    )
    numbers = {each: number for number, each in enumerate(order)}
    sites: list[Any] = []
    arrows: list[tuple[int, int, ArrowKind]] = []
    for number, each in enumerate(order):
        if kind_of(each) is not Node:
            sites.append(type(each))
            continue
        # Comparing code would take longer than the rest.
        sites.append((each.task, id(each.code), each.lasti))
        after = frozenset(each.follows or ())
        for other in edges(each):
            kind: ArrowKind = "order" if other in after else "value"
            arrows.append((numbers[other], number, kind))
    return Found(order, sites, arrows)


def _of_flow(root: Flow) -> Found:
    below: dict[Any, list[Any]] = {}

    def fed(each: Any) -> list[Any]:
        if not isinstance(each, Flow):
            return []
        if each not in below:
            below[each] = [
                child if isinstance(child, Flow) else Choice(child, each)
                for child in each.children
            ]
        return below[each][::-1]

    # What feeds others comes first, and those in the order written.
    order = inputs_first(root, fed)[::-1]
    numbers = {each: number for number, each in enumerate(order)}
    made = Found(order, [], [])
    for number, each in enumerate(order):
        if isinstance(each, Flow):
            made.sites.append((each.task, id(each.code), each.lasti))
        else:
            made.sites.append((id(each.choose), id(each.parent.code), number))
        for child in below.get(each, ()):
            kind: ArrowKind = "value" if isinstance(child, Flow) else "choice"
            made.arrows.append((number, numbers[child], kind))
    return made


def _of_program(program: Program) -> Found:
    """A flow as a run takes it: its stages are nodes, which stand for themselves."""
    made = Found([stage.node for stage in program.stages], [], [])
    for number, stage in enumerate(program.stages):
        node = stage.node
        made.sites.append((node.task, id(node.code), node.lasti))
        kind: ArrowKind = "choice" if stage.chooses else "value"
        made.arrows.extend(
            (parent, number, kind) for parent in stage.parents if parent != GIVEN
        )
    return made
