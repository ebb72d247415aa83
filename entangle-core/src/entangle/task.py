"""``@task``, the general form of the decorators, with what works on many nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph import running
from entangle._graph.decorate import MISSING, decorate
from entangle._graph.gathering import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Unpack

    from entangle._graph.decorate import Decorator, TaskOptions
    from entangle._graph.flow_task import FlowTask
    from entangle._graph.node import Node
    from entangle._graph.task import Task
    from entangle._run.future import RunFuture

__all__ = ["as_completed", "gather", "shutdown", "task"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def task(fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...
@overload
def task(fn: Task[P, R], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Decorator: ...
def task(fn: Any = MISSING, /, **options: Any) -> Any:
    """Make a task of a function, without saying how it runs: by default in a process.

    Works bare and with options, in any order with other decorators.

    Args:
        fn: Any callable.
        **options: Those of `entangle.process.process`, as far as the place where the
            task runs honours them, and ``executor``: a `concurrent.futures.Executor`
            object that runs the calls. It stays the caller's, who closes it.

    Returns:
        A task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
        UnmetCapabilityError: If an option cannot be honoured by the executor.
    """
    return decorate("task", fn, {}, options)


def as_completed(
    nodes: Iterable[Node[R]],
    timeout: float | None = None,
    ahead: int | None = None,
) -> Iterator[tuple[Node[R], RunFuture[R]]]:
    """Run nodes as one run, and yield each with its future as it lands.

    A failure is in the future and does not stop the others. Leaving the loop cancels
    what is not done.

    Args:
        nodes: The nodes; may be endless, and is only drawn from as far as needed.
        timeout: How many seconds the run may take; None for no limit.
        ahead: How many nodes are drawn beyond those that were yielded; None for as
            many as keep the workers busy.

    Yields:
        The node and its future, which is done.
    """
    return running.as_completed(nodes, timeout, ahead)


def shutdown() -> None:
    """End the workers of this process; the next run starts new ones.

    Blocks until they have ended. Who waits for a run under way, or begins one just
    then, gets a `concurrent.futures.CancelledError`. Thread-safe.

    Raises:
        RuntimeError: Called by a finalizer in the middle of the pool's own work.
    """
    running.shutdown()
