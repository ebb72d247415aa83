"""Which kind of worker the options of a task ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import cpus
from .processes import LEAN_PRELOAD, STANDARD_PRELOAD
from .worker import Key

if TYPE_CHECKING:
    from entangle._graph.options import Options

    from .pool import Pool
    from .scheduling import Group


def key_of(
    options: Options, pool: Pool, *, by_value: bool
) -> tuple[Key, int, Any, Group | None]:
    """Return key, CPUs to lease, no payload, and the scheduler's group of a task.

    Args:
        options: What the task asks for.
        pool: The process's pool.
        by_value: Whether its function travels by value, which takes cloudpickle.
    """
    preload: tuple[str, ...] = STANDARD_PRELOAD
    if options.fresh:
        # The less its parent has imported, the sooner a process is there.
        lean = STANDARD_PRELOAD if by_value else LEAN_PRELOAD
        preload = (*lean, *options.preload)
    group = None
    if options.scheduler is not None:
        group = pool.group(options.scheduler)
    lease, bound = 1, None
    if options.cpus is not None:
        ids = cpus.allowed()
        lease = min(options.cpus, pool.capacity)
        bound = ids[: min(options.cpus, len(ids))]
    key = Key(
        options.env, options.cwd, options.nice, bound, preload, fresh=options.fresh
    )
    return key, lease, None, group
