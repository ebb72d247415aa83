"""Many nodes as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from entangle._graph import ops
from entangle._graph.frames import getframe
from entangle._graph.node import Node, build
from entangle._graph.walk import EDGE_TYPES

if TYPE_CHECKING:
    from entangle._run.future import RunFuture

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")


@overload
def gather(
    first: Node[A], second: Node[B], /, *, return_exceptions: Literal[False] = False
) -> Node[list[A | B]]: ...
@overload
def gather(
    first: Node[A],
    second: Node[B],
    third: Node[C],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Node[list[A | B | C]]: ...
@overload
def gather(
    first: Node[A],
    second: Node[B],
    third: Node[C],
    fourth: Node[D],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Node[list[A | B | C | D]]: ...
@overload
def gather(
    *nodes: Node[T], return_exceptions: Literal[False] = False
) -> Node[list[T]]: ...
@overload
def gather(
    *nodes: Node[T], return_exceptions: bool
) -> Node[list[T | BaseException]]: ...
@overload
def gather(
    *nodes: Node[Any] | RunFuture[Any], return_exceptions: bool = False
) -> Node[list[Any]]: ...
def gather(*nodes: Any, return_exceptions: bool = False) -> Any:
    """Build a node whose value is the list of the values of others.

    Args:
        *nodes: Nodes, or futures of submitted runs.
        return_exceptions: Whether failures are delivered in place of values, while
            the other nodes go on.

    Returns:
        The node.

    Raises:
        TypeError: If one of them is no node.
    """
    for node in nodes:
        if type(node) not in EDGE_TYPES:
            raise TypeError(_no_node(node))
    frame = getframe(1)
    task = ops.gather_tolerant if return_exceptions else ops.gather
    return build(task, (list(nodes),), None, frame.f_code, frame.f_lasti)


def _no_node(value: object) -> str:
    kind = type(value).__qualname__
    text = f"gather() takes nodes, not {kind}"
    if isinstance(value, list | tuple):
        return f"{text}; write gather(*nodes) for the nodes in it"
    if callable(value):
        return f"{text} {value!r}; call it to build a node"
    return f"{text} {value!r}"
