"""Which calls are sent to a worker together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .jobs import tiny

if TYPE_CHECKING:
    from collections import deque

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
    mean = 0.0
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
        budget -= mean
        if budget < 0 or job.call.alone:
            return
        batch.append(queue.popleft())
