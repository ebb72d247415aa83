"""``@dataflow``: functions that push their values on, to all that are waiting for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph.declared import checked
from entangle._graph.decorate import MISSING, state
from entangle._graph.flow import Flow
from entangle._graph.flow_task import DATAFLOW
from entangle.errors import FlowError
from entangle.process import process
from entangle.thread import thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from entangle._graph.configured import Located
    from entangle._graph.decorate import Decorator
    from entangle._graph.flow_task import FlowDecorator, FlowTask
    from entangle._graph.task import Task

__all__ = ["Flow", "FlowError", "dataflow", "process", "thread"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def dataflow(fn: Task[P, R], /) -> FlowTask[P, R]: ...
@overload
def dataflow(fn: Callable[P, R], /) -> FlowTask[P, R]: ...
@overload
def dataflow(
    *,
    callback: Callable[[Any, Any], object] | None = ...,
    executor: Executor | Decorator | Located | str | None = ...,
    maxworkers: int | None = ...,
) -> FlowDecorator: ...
def dataflow(fn: Any = MISSING, /, **options: Any) -> Any:
    """Make a task of a function whose calls build push graphs.

    ``emit(show(), store())`` is a `Flow`: called with a value it calls ``emit`` with
    that, and ``show`` and ``store`` with what ``emit`` returns, at the same time. Works
    bare and with options, over functions and tasks, in any order with the decorators
    that say how and where it runs.

    Args:
        fn: Any callable, or a task to be pushed instead of pulled.
        **options: ``callback``: called as ``callback(function, value)`` in this process
            as each value of the plain function becomes available, one call after the
            other; all have returned before the flow's call does; what it raises is
            logged. ``executor``: where those functions of the flow run that say
            neither how nor where: ``'thread'`` (the default), ``'process'``, the name
            of another executor, a target or a `concurrent.futures.Executor`.
            ``maxworkers``: how many calls of those may run at once in one run. The
            last two count where the task is a flow's outer one.

    Returns:
        A dataflow task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
    """
    stated = checked("dataflow", options)
    if "executor" in stated:
        stated["children"] = stated.pop("executor")
    return state("dataflow", fn, {"firing": DATAFLOW, **stated})
