"""Errors that say how a worker or a place has ended, or why it never began."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from entangle._worker.main import BROKEN_STREAM
from entangle.errors import PlaceError, ProcessTerminatedException, one_line

from .handshake import Refused, visible

if TYPE_CHECKING:
    from entangle._pool.jobs import Job

    from .host import PlaceHost
    from .stream import Ended
    from .worker import FarWorker

_NOT_FOUND: Final = 127  # the exit code of shells that have no such command


def of_worker(
    label: str, job: Job, worker: FarWorker, status: int, *, for_memory: bool
) -> ProcessTerminatedException:
    """Return the error for the call that a worker was running when it died.

    Args:
        label: What the place is called.
        job: The call.
        worker: The worker.
        status: How it has ended, as of waitpid.
        for_memory: Whether the system has ended something there for its memory.
    """
    code = os.waitstatus_to_exitcode(status)
    detail = worker.broken
    if code == BROKEN_STREAM and not detail:
        detail = "it lost its connection to its host: a task closed or damaged it"
    return ProcessTerminatedException(
        node=job.call.name,
        pid=worker.pid,
        signal=-code if code < 0 and not worker.broken else None,
        exit_code=code if code >= 0 else None,
        out_of_memory=for_memory,
        detail=_joined(label, detail),
    )


def of_place(
    label: str, job: Job, pid: int, why: BaseException | str | None, ended: Ended
) -> ProcessTerminatedException:
    """Return the error for a call of a place that is gone.

    Args:
        label: What the place is called.
        job: The call.
        pid: Of its worker, there.
        why: What was found wrong with its stream, if anything.
        ended: What its stream says.
    """
    detail = one_line(why) if isinstance(why, BaseException) else why
    return ProcessTerminatedException(
        node=job.call.name,
        pid=pid,
        signal=ended.signal,
        exit_code=ended.exit_code,
        out_of_memory=ended.out_of_memory,
        detail=_joined(label, detail or ended.detail),
    )


def before_answer(
    label: str, host: PlaceHost, why: BaseException | str | None, ended: Ended
) -> PlaceError:
    """Return the error for a place that never said what it is."""
    if isinstance(why, Refused):
        reason = str(why)
    elif ended.exit_code == _NOT_FOUND:
        reason = "it has no python3, which is all that has to be there"
    else:
        reason = "it ended before it answered"
        if ended.out_of_memory:
            reason += ", because memory ran out"
        elif ended.exit_code is not None:
            reason += f", with exit code {ended.exit_code}"
        elif ended.signal is not None:
            reason += f", by signal {ended.signal}"
        elif why is not None:
            shown = one_line(why) if isinstance(why, BaseException) else why
            reason += f": {shown}"
    said = "\n".join(filter(None, (host.said, visible(ended.detail))))
    return PlaceError(place=label, reason=reason, said=said)


def _joined(label: str, detail: str) -> str:
    return f"{label}: {detail}" if detail else label
