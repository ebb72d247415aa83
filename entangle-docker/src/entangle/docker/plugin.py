"""What Entangle finds by the entry point: the executor's name, checks, what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle.hooks import Benchmark, Finding, Leftover, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from entangle.run import PlannedTask

ENTANGLE_SPI = 1

NAME: Final = "docker"


@hookimpl
def entangle_executors() -> Mapping[str, Callable[..., Any]]:
    """Name the executor, for ``ENTANGLE_TARGETS``; it needs an image."""
    from entangle.docker import docker

    return {NAME: docker}


@hookimpl
def entangle_bench() -> Iterator[Benchmark]:
    """Bring calls in containers, and what they are made of."""
    from ._bench import benchmarks

    yield from benchmarks()


@hookimpl
def entangle_doctor() -> Iterator[Finding]:
    """Check whether an engine answers, and whether anything is left there."""
    from ._survey import findings

    yield from findings()


@hookimpl
def entangle_estimate(task: PlannedTask) -> Iterator[str]:
    """Tell which image a task's calls would run in, and whether it is there."""
    if task.target == NAME:
        from ._survey import estimate

        yield from estimate(task.options)


@hookimpl
def entangle_sweep(older_than: float) -> Iterator[Leftover]:
    """Find containers whose program is gone."""
    from ._leftovers import leftovers

    yield from leftovers(older_than)
