"""Choosing the CPU that a call is bound to."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from entangle.errors import CompositionError

if TYPE_CHECKING:
    from entangle._graph.options import SchedulerOptions


class CpuScheduler(Protocol):
    """What an implementation for ``@scheduler(impl=...)`` has to be.

    One object serves all tasks that carry an equal ``@scheduler``. It is made when the
    first of their calls is ready, and lives as long as the pool. Its methods are
    called one at a time, but not always from the same thread.
    """

    def __init__(self, cpus: tuple[int, ...]) -> None:
        """Take note of the CPUs that are shared.

        Args:
            cpus: Their numbers, as the operating system counts them, sorted.
        """

    def choose(self, free: frozenset[int]) -> int | None:
        """Choose the CPU that the next call is bound to.

        Called when a call is ready and a CPU is free; must not block.

        Args:
            free: The numbers of the CPUs that are bound to no call now; never empty.

        Returns:
            One of `free`; or None to let the call wait until more are free, which is
            an error where all are.
        """
        ...


class LowestFree:
    """The default: the free CPU with the lowest number."""

    def __init__(self, cpus: tuple[int, ...]) -> None:
        """Take note of the CPUs that are shared."""
        self.cpus = cpus

    def choose(self, free: frozenset[int]) -> int | None:
        """Choose the lowest."""
        return min(free)


def make_scheduler(options: SchedulerOptions, cpus: tuple[int, ...]) -> CpuScheduler:
    """Make the scheduler that options ask for.

    Args:
        options: What ``@scheduler`` was given.
        cpus: The numbers of the CPUs that are shared.

    Raises:
        CompositionError: If the dotted path leads to no such class.
    """
    made: CpuScheduler = _implementation(options.impl)(cpus)
    return made


def _implementation(impl: object) -> Any:
    if impl is None:
        return LowestFree
    if not isinstance(impl, str):
        return impl
    module, _, name = impl.rpartition(".")
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CompositionError(
            f"@scheduler(impl={impl!r}) leads to no class: {error}"
        ) from error
    if not isinstance(found, type) or not callable(getattr(found, "choose", None)):
        raise CompositionError(
            f"@scheduler(impl={impl!r}) leads to {found!r}, which is no class with a "
            "method choose(free)"
        )
    return found
