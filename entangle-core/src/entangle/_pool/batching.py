"""Which calls are sent to a worker together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .jobs import tiny

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from .jobs import Job, Prepared
    from .worker import Key

BUDGET_NS = 1_000_000.0  # of expected work
MOST_AT_ONCE = 64
LOW_WATER = 16  # calls left with a worker when it is given more


def extend(queue: deque[Job], batch: list[Job], key: Key, most: int) -> None:
    """Move tiny jobs for the same kind of worker from a queue to a batch.

    In the order of the queue: the first job that does not fit ends the batch.

    Args:
        queue: The jobs that wait.
        batch: The jobs that are about to be sent.
        key: The kind of worker that they are sent to.
        most: How many jobs the batch may have.
    """
    budget = BUDGET_NS - sum(job.prepared.shipped.mean_ns or 0 for job in batch)
    last: Prepared | None = None
    mean, prints = 0.0, False
    while queue and len(batch) < most:
        job = queue[0]
        if job.over:
            queue.popleft()
            continue
        prepared = job.prepared
        if prepared is not last:
            # Neighbours mostly have it in common.
            if prepared.key != key or not tiny(prepared):
                return
            last, mean = prepared, prepared.shipped.mean_ns or 0.0
            prints = prepared.shipped.prints
        budget -= mean
        call = job.call
        # As `Job.apart`, written out: this is the way of most calls.
        if budget < 0 or call.alone or (prints and call.captures):
            return
        batch.append(queue.popleft())


def assign(
    worker: Any, batch: list[Job], provide: Callable[[Any, Prepared], None]
) -> None:
    """Make jobs those of a worker: numbered, and those that wait there with tokens.

    Args:
        worker: A local worker, or one in a place.
        batch: The jobs that are about to be sent to it.
        provide: Sends what a job needs and the worker does not have yet.
    """
    behind = bool(worker.outstanding)
    first = number = worker.next_sequence(len(batch))
    provided: Prepared | None = None
    for job in batch:
        job.worker = worker
        job.number = number
        number += 1
        job.token = behind
        job.told = False
        behind = True
        if job.prepared is not provided:
            provided = job.prepared
            provide(worker, provided)
    worker.outstanding.extend(batch)
    if not batch[0].token:
        first += 1
    if first < number:
        worker.grant(range(first, number))
