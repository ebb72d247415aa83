"""``@thread``: run a function in a thread of the calling process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph.decorate import MISSING, decorate

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from entangle._graph.decorate import Decorator, Policy
    from entangle._graph.flow_task import FlowTask
    from entangle._graph.task import Task

__all__ = ["thread"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def thread(fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...
@overload
def thread(fn: Task[P, R], /) -> Task[P, R]: ...
@overload
def thread(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def thread(**options: Unpack[Policy]) -> Decorator: ...
def thread(fn: Any = MISSING, /, **options: Any) -> Any:
    """Make a task of a function: each call runs in a thread of the calling process.

    Arguments and value are shared, not copied. Functions that are ``async def`` run on
    one event loop of the run, many at once. Works bare and with options, in any order
    with other decorators.

    Args:
        fn: Any callable.
        **options: As for `entangle.process.process`: ``wait``, ``start``, ``retry``,
            ``sleep``, ``backoff``, ``retry_on``, ``retry_error``, ``limit``,
            ``cache``, ``version``, ``cache_key``, ``cache_ignore``.
            ``timeout`` only for an ``async def``: no other running thread can be
            ended.

    Returns:
        A task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
        UnmetCapabilityError: If an option cannot be honoured in a thread.
    """
    return decorate("thread", fn, {"how": "thread"}, options)
