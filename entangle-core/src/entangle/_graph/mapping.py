"""One call of a task for each item of an iterable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._graph import ops
from entangle._graph.callables import kind_of
from entangle._graph.node import Node, build
from entangle._graph.options import Options
from entangle._graph.spec import Spec
from entangle._graph.task import Task
from entangle._graph.walk import EDGE_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType


def mapped(
    task: Task[..., Any],
    iterables: tuple[Any, ...],
    constants: dict[str, Any],
    *,
    tolerant: bool,
    code: CodeType | str,
    lasti: int,
) -> Node[Any]:
    """Build a call for each item of one iterable, or of several in step.

    Args:
        task: What is called.
        iterables: One for each positional argument; or nodes for such.
        constants: Keyword arguments that all calls share.
        tolerant: Whether failures are delivered in place of values.
        code: The code object of the line that maps, or that line.
        lasti: The instruction in it.

    Returns:
        A node for the list of the values.

    Raises:
        TypeError: If the task cannot be called like this, or an item is no iterable.
    """
    task.check(iterables, constants)
    if any(kind_of(each) in EDGE_TYPES for each in iterables):
        sources = [
            each if kind_of(each) in EDGE_TYPES else _iterated(each, "map")
            for each in iterables
        ]
        args = (task, sources, constants, tolerant, _line(code, lasti))
        return build(expand_map, args, None, code, lasti)
    # All but one may be endless.
    iterators = [_iterator(each, "map") for each in iterables]
    called, first = task.unbound()
    kwargs = constants or None
    calls = [
        build(called, first + args, kwargs, code, lasti)
        for args in zip(*iterators, strict=False)
    ]
    return _gathered(calls, tolerant=tolerant, code=code, lasti=lasti)


def starmapped(
    task: Task[..., Any],
    tuples: Any,
    constants: dict[str, Any],
    *,
    tolerant: bool,
    code: CodeType | str,
    lasti: int,
) -> Node[Any]:
    """Build a call for each tuple of positional arguments.

    Args:
        task: What is called.
        tuples: The tuples, some perhaps nodes for such; or a node for all of them.
        constants: Keyword arguments that all calls share.
        tolerant: Whether failures are delivered in place of values.
        code: The code object of the line that maps, or that line.
        lasti: The instruction in it.

    Returns:
        A node for the list of the values.

    Raises:
        TypeError: If the task cannot be called like this, or an item is no iterable.
    """
    source = tuples
    if kind_of(source) not in EDGE_TYPES:
        source = list(_iterated(tuples, "starmap"))
    if kind_of(source) in EDGE_TYPES or any(
        kind_of(each) in EDGE_TYPES for each in source
    ):
        args = (task, source, constants, tolerant, _line(code, lasti))
        return build(expand_starmap, args, None, code, lasti)
    called, first = task.unbound()
    kwargs = constants or None
    calls: list[Node[Any]] = []
    for each in source:
        positional = tuple(_iterated(each, "starmap"))
        task.check(positional, constants)
        calls.append(build(called, first + positional, kwargs, code, lasti))
    return _gathered(calls, tolerant=tolerant, code=code, lasti=lasti)


def _gathered(
    calls: list[Node[Any]], *, tolerant: bool, code: CodeType | str, lasti: int
) -> Node[Any]:
    task = ops.gather_tolerant if tolerant else ops.gather
    return build(task, (calls,), None, code, lasti)


def _iterated(value: Any, method: str) -> Iterable[Any]:
    """Consume an iterable, unless it can be iterated over again."""
    if issubclass(kind_of(value), list | tuple):
        iterated: Iterable[Any] = value
        return iterated
    return tuple(_iterator(value, method))


def _iterator(value: Any, method: str) -> Iterator[Any]:
    try:
        return iter(value)
    except TypeError:
        if hasattr(kind_of(value), "__iter__"):
            raise
        wanted = "iterables" if method == "map" else "an iterable of tuples"
        raise TypeError(
            f"{method}() takes {wanted}, not {type(value).__qualname__} {value!r}"
        ) from None


def _line(code: CodeType | str, lasti: int) -> str:
    """Give the line as text, which travels where code objects do not."""
    return build(ops.gather, (), None, code, lasti).where


def _expansion(fn: Callable[..., Any]) -> Task[..., Any]:
    return Task(fn, Spec(), Options(how="workflow"))


@_expansion
def expand_map(
    task: Task[..., Any],
    sources: list[Any],
    constants: dict[str, Any],
    tolerant: bool,  # noqa: FBT001 - only ever built above
    line: str,
) -> Node[Any]:
    """Map over iterables whose values are there now."""
    return mapped(
        task, tuple(sources), constants, tolerant=tolerant, code=line, lasti=0
    )


@_expansion
def expand_starmap(
    task: Task[..., Any],
    source: Any,
    constants: dict[str, Any],
    tolerant: bool,  # noqa: FBT001 - only ever built above
    line: str,
) -> Node[Any]:
    """Map over tuples whose values are there now."""
    return starmapped(task, source, constants, tolerant=tolerant, code=line, lasti=0)
