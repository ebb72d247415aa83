"""The plain values that calls have returned, as a worker sends or leaves them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from entangle._worker import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._seam.call import Call

    from .jobs import Job, Prepared


def land(
    worker: Any,
    answers: bytes,
    let_go: Callable[[Any, int, int, int], Call],
    dirty: int,
    jobs: dict[Call, Job] | None = None,
) -> None:
    """Report the values that a worker's calls have returned. Inside the monitor only.

    Args:
        worker: The worker, here or in a place.
        answers: The values, each with its head in front.
        let_go: Lets go of the call of a worker that has a number and took so many
            nanoseconds; of a worker that is not to be used again where it is dirty.
        dirty: Whether it is.
        jobs: By calls, if those with nothing more to settle can be let go of here:
            written out, since this is the way of most.

    Raises:
        Exception: what follows is no answer; what came before it is reported.
    """
    worker.finish_lines()
    view, at, end = memoryview(answers), 0, len(answers)
    head, unpack, loads = page.VALUE.size, page.VALUE.unpack_from, pickle.loads
    outstanding = worker.outstanding
    landed: list[tuple[Call, Any]] = []
    last: Prepared | None = None
    taken: list[int] = []
    try:
        while at < end:
            number, took, size = unpack(answers, at)
            at += head
            # Else it was read in the page before it was sent.
            if number > worker.answered:
                value = loads(view[at : at + size])
                job = outstanding[0]
                if (
                    jobs is None
                    or job.number != number
                    or job.limited
                    or job.processor is not None
                    or job.above is not None
                ):
                    landed.append((let_go(worker, number, took, dirty), value))
                else:
                    if job.prepared is not last:
                        if last is not None:
                            last.shipped.took(*taken)
                        last, taken = job.prepared, []
                    taken.append(took)
                    worker.answered = number
                    outstanding.popleft()
                    job.worker = None
                    job.over = True
                    call = job.call
                    if call.captures:
                        call.pid, call.took = worker.pid, took
                    jobs.pop(call, None)
                    landed.append((call, value))
            at += size
    finally:
        if last is not None:
            last.shipped.took(*taken)
        if landed:
            landed[0][0].all_succeeded(landed)
