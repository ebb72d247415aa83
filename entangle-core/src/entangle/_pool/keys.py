"""What the options of a task ask of the process pool."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from entangle._worker import processors
from entangle.errors import UnmetCapabilityError

from .jobs import Prepared
from .worker import Key
from .zygotes import LEAN_PRELOAD, STANDARD_PRELOAD

if TYPE_CHECKING:
    from entangle._graph.options import Options

    from .pool import Pool
    from .shipping import Shipped
    from .snapshot import Snapshot


@lru_cache(maxsize=256)
def _key(*parts: Any) -> Key:
    """Return the key of these parts: the same object each time, as a rule."""
    env, cwd, nice, preload, fresh = parts
    return Key(env, cwd, nice, None, preload, fresh=fresh)


def prepare(
    options: Options, shipped: Shipped, snapshot: Snapshot, pool: Pool, name: str
) -> Prepared:
    """Return what all calls of a task have in common on their way to a worker.

    Args:
        options: What the task asks for.
        shipped: Its function.
        snapshot: The state of this process that its workers take over.
        pool: The process's pool.
        name: Of the task, for messages.

    Raises:
        UnmetCapabilityError: a scheduler of the user's, from inside of a task.
        Exception: what making one raises.
    """
    preload: tuple[str, ...] = STANDARD_PRELOAD
    if options.fresh and not shipped.by_value:
        # The less its parent has imported, the sooner a process is there.
        preload = LEAN_PRELOAD
    lease = bound = 1
    if options.cpus is None:
        bound = 0
    else:
        lease = min(options.cpus, pool.capacity)
        bound = min(options.cpus, len(processors.allowed()))
    scheduler = options.scheduler
    group = None
    if scheduler is not None:
        if not pool.relayed:
            group = pool.group(scheduler)
        elif scheduler.impl is not None:
            raise UnmetCapabilityError(
                f"@scheduler(impl=...) of {name} can't be used by a graph that runs "
                "inside of a task: leave impl out, or run the graph outside",
                task=name,
                option="scheduler",
            )
    return Prepared(
        shipped,
        snapshot,
        _key(
            options.env,
            options.cwd,
            options.nice,
            (*preload, *options.preload) if options.preload else preload,
            options.fresh,
        ),
        lease,
        None,
        group,
        options.is_async,
        options.limit,
        bound,
        scheduler,
    )
