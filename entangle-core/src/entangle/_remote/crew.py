"""The calls of one stream executor: which worker in which place gets which.

Data flow, all inside the monitor: `start` queues a job; `pump`, after each batch of
news, gives jobs to workers; what places say arrives in `said`. Calls that have lately
been tiny are queued behind others as in the local pool, to a millisecond of work: what
has not begun is taken back by the host there, which sees the worker's page and tokens.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from entangle._pool.batching import LOW_WATER, MOST_AT_ONCE, assign, extend
from entangle._pool.jobs import Job, Prepared, frame
from entangle._pool.line import Line
from entangle._pool.zygotes import STANDARD_PRELOAD
from entangle._worker import codec, frames, packets
from entangle._worker import main as protocol
from entangle.errors import ProcessTimeoutException, WorkerStartError

from . import endings
from .answers import Answers
from .places import Places
from .project import Project
from .translation import Translation
from .worker import FarWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from entangle._pool.pool import Pool
    from entangle._pool.worker import Key
    from entangle._seam.call import Call

    from .host import PlaceHost
    from .places import Opener, Terms
    from .stream import Ended

MOST_DEATHS = 3  # of workers that died before they entered a call's body
_MOST_FUNCTIONS = 1000


class Nested(Protocol):
    """Who makes the runs that calls ask for; inside the monitor."""

    def requested(self, worker: FarWorker, frame: frames.Frame) -> None:
        """A worker asks for one, or tells of one."""

    def over(self, job: Job, report: Callable[[], None] | None) -> None:
        """A call is over: end what it has asked for, then call `report`."""


class Crew:
    """All calls of one executor. Inside the monitor only, but for what says else.

    Attributes:
        pool: The pool whose monitor it is in.
        closed: Set when nothing is left.
    """

    def __init__(
        self, pool: Pool, terms: Terms, opener: Opener, nested: Nested
    ) -> None:
        self.pool = pool
        self.closed = threading.Event()
        self._terms = terms
        self._printer = pool.printer
        self._nested = nested
        self._project = Project()
        self._places = Places(pool.hub, terms, opener, self)
        self._answers = Answers(
            pool,
            self._project,
            nested,
            self._over,
            label=terms.label,
            trust=terms.trust,
        )
        self._translation = Translation(
            pool, self._project, self._requeue, self._fail, terms.label
        )
        self._jobs: dict[Call, Job] = {}
        self._queue = Line(self._places.crowd)
        self._numbers = 0
        self._closing = False
        self._names: frozenset[str] = frozenset()
        pool.crews.add(self)
        self._printer.on_room.append(self._on_room)

    # -- what others ask for -----------------------------------------------------

    def look_around(self) -> None:
        """Find out which modules are the caller's own; not inside the monitor."""
        self._names = self._project.names()

    def start(self, call: Call, prepared: Prepared, *, plain: bool = False) -> None:
        """Queue a call; everything about it is reported to the call."""
        if self._closing:
            call.failed(RuntimeError("cannot schedule new calls after shutdown"))
            return
        job = self._jobs[call] = Job(call, prepared, plain=plain)
        self._queue.add(job)

    def start_all(self, calls: Iterable[Call], prepared: Prepared) -> None:
        """Queue several calls whose arguments are known to be plain."""
        for call in calls:
            self.start(call, prepared, plain=True)

    def cancel(self, call: Call) -> None:
        """End a call; `Call.cancelled` tells how, unless its result was faster."""
        job = self._jobs.get(call)
        if job is None or job.cancelled or job.over:
            return
        job.cancelled = True
        worker: Any = job.worker
        if worker is None:
            self._cancelled(job, "already done")
            self._queue.left()
            if not self.wanted():
                self._places.give_up_opening()
        elif len(worker.outstanding) == 1:
            worker.kill()
        else:
            # What it says to that decides: it has begun, or not.
            worker.withdraw()
            worker.host.expect_answer()

    def forget_shared(self, numbers: set[int]) -> None:
        """Have the workers drop values that no call will need again."""
        for worker in self._places.workers():
            gone = worker.shared & numbers
            if gone:
                worker.shared -= gone
                body = pickle.dumps(((), sorted(gone)), 4)
                worker.send(frames.pack(frames.FORGET, body))

    def run_over(self, run: object) -> None:
        """Nothing: there is no memory that its tasks share."""

    def pump(self) -> None:
        """Give queued jobs to workers as far as there is room."""
        queue = self._queue
        while queue.settle():
            if queue[0].over:
                queue.popleft()
                continue
            host = self._places.roomiest()
            job = queue[0]
            if host is None:
                if not self._top_up(job):
                    self._places.open_for(queue)
                    return
            elif host.differs and not self._translation.known(job, host.python):
                queue.popleft()
                self._translation.prepare(job, host.python)
            else:
                self._give(self._worker_at(host, job), self._batch(job))

    def close(self, *, now: bool) -> None:
        """End all places as soon as the calls are over; `closed` tells when.

        Args:
            now: End the calls, too.
        """
        self._closing = True
        for job in list(self._jobs.values()) if now else ():
            self._cancelled(job, "killed" if job.worker else "already done")
        self._close_if_done()

    def descriptors(self) -> Iterator[int]:
        """Yield what a forked child of this process has to close."""
        for host in self._places:
            yield from host.descriptors()

    # -- the way there -----------------------------------------------------------

    def _worker_at(self, host: PlaceHost, job: Job) -> FarWorker:
        """Return a worker without work, forked if need be, and take its room."""
        key = job.prepared.key
        idle = host.idle.get(key)
        if idle:
            worker = idle.pop()
            worker.resting = False
        else:
            worker = self._fork(host, key, job.prepared)
        host.busy += 1
        host.used = True
        return worker

    def _fork(self, host: PlaceHost, key: Key, prepared: Prepared) -> FarWorker:
        host.make_room(self._places.room(host))
        self._numbers += 1
        worker = FarWorker(self._numbers, key, host, self._printer)
        worker.names = self._names
        host.workers[worker.number] = worker
        preload = [name for name in key.preload if name not in STANDARD_PRELOAD]
        if prepared.shipped.by_value and not host.differs:
            preload.append("entangle._worker.byvalue")
        settings = {
            "env": key.env,
            "cwd": key.cwd,
            "nice": key.nice,
            "preload": preload,
            "names": self._names,
            "trust": self._terms.trust,
            "python": tuple(sys.version_info[:2]),
        }
        host.send(packets.FORK, worker.number, pickle.dumps(settings, 4))
        return worker

    def _batch(self, first: Job) -> list[Job]:
        """Take the next job and, if it is tiny, others like it off the queue."""
        queue = self._queue
        queue.popleft()
        batch = [first]
        if queue and first.tiny() and self._may_queue():
            room = sum(max(0, self._places.room(host)) for host in self._places)
            busy = sum(worker.tiny for worker in self._places.workers())
            shares = room + busy + 1
            most = min(MOST_AT_ONCE, -(-(queue.size() + 1) // shares))
            extend(queue, batch, first.prepared.key, most)
        return batch

    def _may_queue(self) -> bool:
        """Tell whether calls may wait behind others at a worker."""
        return not (self._translation.used or self._terms.once)

    def _top_up(self, first: Job) -> bool:
        """Queue tiny jobs behind running ones; False if no worker has room."""
        if not first.tiny() or not self._may_queue():
            return False
        for worker in self._places.workers():
            room = MOST_AT_ONCE - len(worker.outstanding)
            if (
                worker.tiny
                and len(worker.outstanding) <= LOW_WATER
                and worker.key == first.prepared.key
                and not (worker.killed or worker.dirty or worker.asked or worker.aside)
            ):
                batch: list[Job] = []
                extend(self._queue, batch, worker.key, min(room, LOW_WATER * 3))
                if batch:
                    self._give(worker, batch)
                    return True
        return False

    def _give(self, worker: FarWorker, batch: list[Job]) -> None:
        """Send jobs, and before them what they need, to a worker."""
        assign(worker, batch, self._provide)
        body, buffers, flags = frame(batch)
        worker.send(frames.pack(frames.CALLS, body, codec.plain(buffers), flags))
        worker.tiny = batch[0].tiny()

    def _provide(self, worker: FarWorker, prepared: Prepared) -> None:
        """Send what a call needs and the worker does not have yet."""
        if worker.names is not self._names:
            worker.names = self._names
            worker.send(frames.pack(frames.SOURCE, pickle.dumps((0, self._names), 4)))
        shipped = prepared.shipped
        if shipped.number not in worker.functions:
            if len(worker.functions) > _MOST_FUNCTIONS:
                gone = self.pool.shipper.forgotten(worker.functions)
                worker.functions.difference_update(gone)
                body = pickle.dumps((gone, ()), 4)
                worker.send(frames.pack(frames.FORGET, body))
            worker.functions.add(shipped.number)
            number = protocol.NUMBER.pack(shipped.number)
            data = shipped.data
            if worker.host.differs:
                data = self._translation.function(shipped.number, worker.host.python)
            worker.send(frames.pack(frames.FUNCTION, number + data))
        if prepared.payload is not None:
            for blob in prepared.payload.shared:
                if blob.number not in worker.shared:
                    worker.shared.add(blob.number)
                    number = protocol.NUMBER.pack(blob.number)
                    buffers = codec.plain((blob.data, *blob.buffers))
                    worker.send(frames.pack(frames.SHARED, number, buffers))

    # -- what places say ---------------------------------------------------------

    def said(
        self, host: PlaceHost, kind: int, number: int, content: memoryview
    ) -> None:
        """A packet has come."""
        worker = host.workers.get(number)
        if worker is None:
            return
        try:
            if kind == packets.DIED:
                self._died(worker, content)
            elif kind == packets.REFUSED:
                self._not_forked(worker, packets.COUNT.unpack(content)[0])
            elif not worker.broken:
                # What comes after what made no sense would make none either.
                self._worker_said(worker, kind, content)
        except Exception as error:
            worker.broken = f"it sent what is no answer: {error!r}"
            worker.kill()

    def _worker_said(self, worker: FarWorker, kind: int, content: memoryview) -> None:
        if kind == packets.DATA:
            for item in worker.received(content):
                self._answers.frame(worker, item)
            self._settle(worker)
        elif kind in {packets.STDOUT, packets.STDERR}:
            worker.printed(kind - packets.STDOUT, bytes(content))
            if not self._printer.full():
                worker.give_credit()
        elif kind == packets.CREDIT:
            worker.credited(packets.COUNT.unpack(content)[0])
        elif kind == packets.UNSENT:
            self._answers.values(worker, bytes(content))
            self._settle(worker)
        elif kind == packets.WITHDRAWN:
            self._withdrawn(worker, content)
        elif kind == packets.FORKED:
            worker.pid = packets.COUNT.unpack(content)[0]
        else:
            raise ValueError(f"unknown kind {kind}")

    def _settle(self, worker: FarWorker) -> None:
        """Let a worker rest that has nothing left to do."""
        if worker.outstanding or worker.killed or worker.resting:
            return
        self._leave_room(worker)
        if worker.dirty:
            worker.kill()
        else:
            worker.host.idle.setdefault(worker.key, []).append(worker)

    def _leave_room(self, worker: FarWorker) -> None:
        worker.resting = True
        worker.step_back()
        worker.host.busy -= 1
        self._places.relieved(worker.host)

    def _withdrawn(self, worker: FarWorker, content: memoryview) -> None:
        """Queue again what was taken back; end the worker if a call is to be."""
        worker.asked = False
        numbers = {number for (number,) in struct.iter_unpack("<Q", content)}
        back = [job for job in worker.outstanding if job.number in numbers]
        if back:
            worker.tiny = False
            worker.outstanding = deque(
                job for job in worker.outstanding if job.number not in numbers
            )
            self._put_back(back)
        if any(job.cancelled for job in worker.outstanding):
            worker.kill()
        self._settle(worker)

    def _put_back(self, jobs: list[Job]) -> None:
        """Queue jobs again, ahead of all others; cancelled ones are let go."""
        for job in reversed(jobs):
            job.worker = None
            if job.cancelled:
                self._cancelled(job, "already done")
            else:
                self._requeue(job)

    def _requeue(self, job: Job) -> None:
        if not job.over:
            self._queue.put_back(job)

    def _not_forked(self, worker: FarWorker, code: int) -> None:
        """A worker could not be forked."""
        jobs = list(worker.outstanding)
        self._bury(worker)
        for job in jobs:
            detail = f"{self._terms.label}: {os.strerror(code)}"
            self._fail(job, WorkerStartError(detail))

    def _died(self, worker: FarWorker, content: memoryview) -> None:
        """Settle what a dead worker was given."""
        status, entered, for_memory = packets.FATE.unpack_from(content)
        unsent = bytes(content[packets.FATE.size :])
        if unsent and not worker.broken:
            try:
                self._answers.values(worker, unsent)
            except Exception as error:
                worker.broken = f"it left what is no answer: {error!r}"
        worker.finish_lines()
        jobs = list(worker.outstanding)
        unasked = bool(worker.broken) or not worker.killed
        self._bury(worker)
        again: list[Job] = []
        for job in jobs:
            if job.over:
                continue
            if job.cancelled:
                self._cancelled(job, "killed")
            elif job.number > entered and job.deaths < MOST_DEATHS:
                job.deaths += unasked
                again.append(job)
            else:
                death = endings.of_worker(
                    self._terms.label,
                    job,
                    worker,
                    status,
                    for_memory=for_memory and unasked,
                )
                self._fail(job, death)
        self._put_back(again)

    def _bury(self, worker: FarWorker) -> None:
        """Forget a worker that is gone."""
        worker.host.forget(worker)
        worker.outstanding.clear()
        worker.killed = True
        if not worker.resting:
            self._leave_room(worker)

    def _on_room(self) -> None:
        self.pool.hub.post(self._credit_all)

    def _credit_all(self) -> None:
        for worker in self._places.workers():
            worker.give_credit()

    # -- what becomes of the places ----------------------------------------------

    def wanted(self) -> bool:
        """Tell whether calls wait."""
        return any(not job.over for job in self._queue.jobs())

    def lost(
        self, jobs: list[Job], why: BaseException | str | None, ended: Ended
    ) -> None:
        """A place is gone, and these calls with it."""
        for job in jobs:
            if job.cancelled:
                self._cancelled(job, "killed")
            elif not job.over:
                worker: Any = job.worker
                label = self._terms.label
                self._fail(job, endings.of_place(label, job, worker.pid, why, ended))

    def none_answers(self, seconds: float) -> None:
        """No place is there, and none has answered in time: fail what waits."""
        for job in self._queue.drain():
            name = job.call.name
            error = ProcessTimeoutException(node=name, phase="start", seconds=seconds)
            self._fail(job, error)

    def none_opens(self, error: BaseException) -> None:
        """No place is there, and none could be opened: fail what waits."""
        for job in self._queue.drain():
            self._fail(job, error)

    def all_gone(self) -> None:
        """No place is left."""
        self.pool.crews.discard(self)
        if self._on_room in self._printer.on_room:
            self._printer.on_room.remove(self._on_room)
        self.closed.set()

    # -- ends --------------------------------------------------------------------

    def _fail(self, job: Job, error: BaseException) -> None:
        if not job.over:
            self._over(job, partial(job.call.failed, error))

    def _cancelled(self, job: Job, how: str) -> None:
        if not job.over:
            self._over(job, partial(job.call.cancelled, how))

    def _over(self, job: Job, report: Callable[[], None] | None = None) -> None:
        """Let go of a call; its end is reported when what it has asked for is ended."""
        job.over = True
        self._translation.forget(job)
        self._jobs.pop(job.call, None)
        self._nested.over(job, report)
        if self._closing and not self._jobs:
            self.pool.hub.post(self._close_if_done)

    def _close_if_done(self) -> None:
        if self._closing and not self._jobs:
            self._places.end_all()
