"""The tasks that the graph itself is made of: gathering, items, calls of values."""

from __future__ import annotations

from operator import getitem as _getitem
from typing import TYPE_CHECKING, Any

from entangle._graph.options import Options
from entangle._graph.spec import Spec
from entangle._graph.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

_DEFAULTS = Spec()
_HERE = Options(how="thread")


def _internal(options: Options) -> Callable[[Callable[..., Any]], Task[..., Any]]:
    def make(fn: Callable[..., Any]) -> Task[..., Any]:
        return Task(fn, _DEFAULTS, options)

    return make


@_internal(Options(how="assemble"))
def gather(values: list[Any]) -> list[Any]:
    """Give the list of the values; a failure among them is the run's."""
    return values


@_internal(Options(how="assemble", tolerant=True))
def gather_tolerant(values: list[Any]) -> list[Any]:
    """Give the list of the values, with failures in their places."""
    return values


@_internal(Options(how="assemble"))
def same(value: Any) -> Any:
    """Give the value itself, once what it has to follow has ended well."""
    return value


@_internal(_HERE)
def getitem(value: Any, key: Any) -> Any:
    """Give an item of a value."""
    return _getitem(value, key)


@_internal(_HERE)
def call_or_item(value: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a value or, if it cannot be called, give its item."""
    if callable(value):
        return value(*args, **kwargs)
    if kwargs or not args:
        raise TypeError(
            f"a node was called with arguments, but its value, a "
            f"{type(value).__qualname__}, cannot be called"
        )
    return _getitem(value, args[0] if len(args) == 1 else args)


@_internal(_HERE)
def unpacked(value: Any, count: int) -> tuple[Any, ...]:
    """Give the items of a value, of which there must be `count`."""
    items = tuple(value)
    if len(items) < count:
        raise ValueError(
            f"not enough values to unpack (expected {count}, got {len(items)})"
        )
    if len(items) > count:
        raise ValueError(
            f"too many values to unpack (expected {count}, got {len(items)})"
        )
    return items
