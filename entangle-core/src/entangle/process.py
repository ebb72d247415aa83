"""``@process``: run a function in an operating-system process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph.decorate import MISSING, decorate
from entangle.errors import (
    ProcessRetryException,
    ProcessTerminatedException,
    ProcessTimeoutException,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from entangle._graph.decorate import Decorator, ProcessOptions
    from entangle._graph.flow_task import FlowTask
    from entangle._graph.task import Task

__all__ = [
    "ProcessRetryException",
    "ProcessTerminatedException",
    "ProcessTimeoutException",
    "process",
]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def process(fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...
@overload
def process(fn: Task[P, R], /) -> Task[P, R]: ...
@overload
def process(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def process(**options: Unpack[ProcessOptions]) -> Decorator: ...
def process(fn: Any = MISSING, /, **options: Any) -> Any:
    """Make a task of a function: each call runs in a process of its own.

    Warm worker processes are reused. Arguments and value are sent between processes,
    so they must pickle. Works bare and with options, in any order with other
    decorators.

    Args:
        fn: Any callable.
        **options: ``timeout``: how many seconds the body of one attempt may run;
            then its process and all that it started are ended. ``wait``: how many
            seconds its arguments may take, from the start of the first of them.
            ``start``: how many seconds may pass from ready to started. ``retry``:
            how many further attempts a failure gets, ``sleep`` seconds apart, each
            pause ``backoff`` times as long as the one before, for errors that are
            ``retry_on``; then the last error is raised, or with ``retry_error``
            `ProcessRetryException`. ``limit``: how many calls may run at once.
            ``cache``: True to keep values on disk, so that an equal call of equal
            code is not run again, or ``"run"`` to keep them for the length of one
            run; what is equal says the page on the cache. ``version``: what the key
            has besides, for what can't be seen in the code. ``cache_key``: a function
            that is called with the arguments and gives what stands for them in the
            key. ``cache_ignore``: the names of parameters and globals that don't
            count. ``fresh``: whether each call gets a process that ran nothing
            before, which already holds the modules ``preload``. ``env``: additional
            environment variables. ``cwd``: the working directory. ``nice``: the
            increment of the niceness. ``shared_memory``: whether the function is given
            ``smm``, whose ``smm.SharedMemory(nbytes)`` makes memory that all tasks of
            the run can share, and ``sm``: ``sm(name)`` finds it by its name. It lives
            until the run ends.

    Returns:
        A task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
    """
    return decorate("process", fn, {"how": "process"}, options)
