"""What Entangle finds by the entry point: names of executors, checks, prices, sweeping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle.hooks import Finding, Leftover, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from entangle.run import PlannedTask

ENTANGLE_SPI = 1


@hookimpl
def entangle_executors() -> Mapping[str, Callable[[], Any]]:
    """Name the executors, for ``@task(executor="lmbda")`` and ``ENTANGLE_TARGETS``."""
    from .decorators import ec2_jobs, fargate, shipped

    return {"ec2": ec2_jobs, "fargate": fargate, "lmbda": shipped}


@hookimpl
def entangle_doctor() -> Iterator[Finding]:
    """Check credentials, region and permissions."""
    from . import _doctor

    return _doctor.findings()


@hookimpl
def entangle_estimate(task: PlannedTask) -> Iterator[str]:
    """Say where a task would run, and what that costs."""
    from . import _estimates

    return _estimates.lines(task)


@hookimpl
def entangle_sweep(older_than: float) -> Iterator[Leftover]:
    """Find what is left of clients that are gone."""
    from . import _sweeping

    return _sweeping.leftovers(older_than)
