"""One call on its way through the process pool."""

from __future__ import annotations

import pickle
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from entangle._worker import codec, frames
from entangle._worker import main as protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._graph.options import SchedulerOptions
    from entangle._seam.call import Call

    from .scheduling import Group
    from .shipping import Shipped
    from .snapshot import Snapshot
    from .worker import Key


class Payload(NamedTuple):
    """Arguments that need more than a plain pickle (see `attach.encode_arguments`)."""

    data: bytes
    own: int
    buffers: list[Any]
    shared: list[Any]


class Prepared(NamedTuple):
    """What is made of a call before it enters the monitor.

    ``payload`` is None where the arguments of the call are plain. ``bound`` says to
    how many processors its worker is to be bound, 0 for none; ``scheduler`` what its
    ``group`` was made of.
    """

    shipped: Shipped
    snapshot: Snapshot
    key: Key
    cpus: int
    payload: Payload | None = None
    group: Group | None = None
    is_async: bool = False
    limit: int | None = None
    bound: int = 0
    scheduler: SchedulerOptions | None = None


_arrivals = count(1)
TINY_NS = 500_000.0  # functions that take less may be queued behind each other


def tiny(prepared: Prepared) -> bool:
    """Tell whether calls that were prepared so may be queued behind each other."""
    mean = prepared.shipped.mean_ns
    return (
        mean is not None
        and mean < TINY_NS
        and prepared.cpus == 1
        and prepared.payload is None
        and prepared.group is None
        and not prepared.key.fresh
    )


class Job:
    """A call in the pool: queued, then with a worker, then over. Monitor only."""

    __slots__ = (
        "above",
        "arrival",
        "asked",
        "below",
        "call",
        "cancelled",
        "deaths",
        "limited",
        "number",
        "over",
        "plain",
        "prepared",
        "processor",
        "rank",
        "report",
        "token",
        "told",
        "worker",
    )

    def __init__(self, call: Call, prepared: Prepared, *, plain: bool) -> None:
        self.call = call
        self.plain = plain
        self.arrival = next(_arrivals)
        self.rank: tuple[int, int] | None = None  # the call's, once it was asked for
        self.prepared = prepared
        # One of another kind where it is a call elsewhere.
        self.worker: Any = None
        self.number = 0
        self.token = False
        # Whether its start was told, or its worker will tell it.
        self.told = False
        self.cancelled = False
        self.over = False
        self.deaths = 0
        self.limited = False  # whether it counts for the limit of its task
        self.processor: int | None = None
        # How its end is told, as soon as the calls that it made in turn are over:
        # so many of them are being ended, and this one's own end is waited for by
        # the one above.
        self.report: Callable[[], None] | None = None
        self.below = 0
        self.above: Job | None = None
        # The runs that it has asked for, where it is a call elsewhere.
        self.asked: Any = None

    def tiny(self) -> bool:
        """Tell whether the call may be queued behind another one."""
        return tiny(self.prepared) and not self.apart()

    def apart(self) -> bool:
        """Tell whether the call must have its worker to itself, however quick it is.

        What a worker prints is that of the call that it runs, of which nothing is known
        where others have been queued behind it.
        """
        call = self.call
        return call.alone or (call.captures and self.prepared.shipped.prints)

    def entry(self) -> tuple[Any, ...]:
        """Return what the worker is sent of the call."""
        call, prepared = self.call, self.prepared
        flags = protocol.TOKEN if self.token else 0
        if call.wants_start and not self.tiny():
            # Who only observes hears of a quick call's start when it has ended.
            flags |= protocol.NOTIFY
            self.told = True
        if call.captures and call.wants_start:
            flags |= protocol.SHOWN
        if prepared.is_async:
            flags |= protocol.ASYNC
        payload = prepared.payload
        if payload is None:
            return self.number, prepared.shipped.number, call.args, call.kwargs, flags
        flags |= protocol.RICH
        return self.number, prepared.shipped.number, payload.data, payload.own, flags


def frame(jobs: list[Job]) -> tuple[bytes, Sequence[Any], int]:
    """Return the frame that carries jobs: body, buffers, flags.

    One with a payload travels alone.
    """
    first = jobs[0]
    payload = first.prepared.payload
    if len(jobs) > 1 and _alike(jobs):
        number, function, _, _, flags = first.entry()
        alike = number, function, flags, [job.call.args for job in jobs]
        return pickle.dumps(alike, 5), (), frames.ALIKE
    entries = [job.entry() for job in jobs]
    if len(jobs) > 1 and not all(map(_immutable, jobs)):
        # One pickle of all would make one object of a list that calls share.
        apart = [pickle.dumps(entry, 5) for entry in entries]
        return pickle.dumps(apart, 5), (), frames.APART
    return pickle.dumps(entries, 5), () if payload is None else payload.buffers, 0


def _alike(jobs: list[Job]) -> bool:
    """Tell whether calls differ from each other by plain arguments alone."""
    prepared = jobs[0].prepared
    for job in jobs:
        if not job.plain or job.prepared is not prepared or job.call.alone:
            return False
    return True


def _immutable(job: Job) -> bool:
    call = job.call
    return codec.ATOMS.issuperset(map(type, call.args)) and (
        not call.kwargs or codec.ATOMS.issuperset(map(type, call.kwargs.values()))
    )
