"""``@scheduler``: let tasks share a number of CPUs, each call bound to its own.

Which free CPU a call gets is chosen by an object that follows `CpuScheduler`; the
default, `LowestFree`, takes the one with the lowest number. Another is given by its
class, or by the dotted path of the class, which is then imported at the first run::

    class Spread:
        def __init__(self, cpus: tuple[int, ...]) -> None:
            self.last = -1

        def choose(self, free: frozenset[int]) -> int | None:
            self.last = min((c for c in free if c > self.last), default=min(free))
            return self.last

    @scheduler(cpus=4, impl=Spread)
    def work(): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph import declared
from entangle._graph.decorate import MISSING, state
from entangle._graph.scheduling import CpuScheduler, LowestFree

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.decorate import Decorator
    from entangle._graph.flow_task import FlowTask
    from entangle._graph.task import Task

__all__ = ["CpuScheduler", "LowestFree", "scheduler"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def scheduler(fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...
@overload
def scheduler(fn: Task[P, R], /) -> Task[P, R]: ...
@overload
def scheduler(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def scheduler(
    *, cpus: int | None = None, impl: type[CpuScheduler] | str | None = None
) -> Decorator: ...
def scheduler(fn: Any = MISSING, /, **options: Any) -> Any:
    """Let all tasks that carry an equal ``@scheduler`` share a number of CPUs.

    Each call is bound to a CPU of its own and waits while none is free. Only for
    processes. Works bare and with options, in any order with other decorators.

    Args:
        fn: Any callable.
        **options: ``cpus``: how many CPUs are shared; by default all that this
            process may use. ``impl``: who chooses among the free ones: a class that
            follows `CpuScheduler`, or its dotted path.

    Returns:
        A task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
        UnmetCapabilityError: If the task is no process.
    """
    plain = declared.checked("scheduler", options)
    shared = (plain.get("cpus"), plain.get("impl"))
    return state("scheduler", fn, {"scheduler": shared})
