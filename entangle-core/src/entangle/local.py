"""``@local``: run a task on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph.decorate import MISSING, decorate

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.decorate import Decorator
    from entangle._graph.flow_task import FlowTask
    from entangle._graph.task import Task

__all__ = ["local"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def local(fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...
@overload
def local(fn: Task[P, R], /) -> Task[P, R]: ...
@overload
def local(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def local(*, cpus: int | None = None) -> Decorator: ...
def local(fn: Any = MISSING, /, **options: Any) -> Any:
    """Say that a task runs on this machine.

    Works bare and with options, in any order with other decorators.

    Args:
        fn: Any callable.
        **options: ``cpus``: how many CPUs each call reserves at most; less where the
            machine has less. The call is bound to them, and the usual variables tell
            numerical libraries to use that many threads. Only for processes.

    Returns:
        A task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
        UnmetCapabilityError: If ``cpus`` is asked of what is no process.
    """
    return decorate("local", fn, {"where": "local"}, options)
