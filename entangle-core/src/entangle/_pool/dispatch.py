"""Which worker gets which call, under leases of processors.

Queued calls go to workers first come first served, as far as processors are free. A
call whose function has lately taken well under a millisecond may be queued in the
worker behind others like it, to a millisecond of work. Its token then lies in a pipe:
what runs longer than expected, blocks or is to be ended has the calls behind it taken
back first, so that no call ever waits for, or dies with, somebody else's.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from entangle._worker import frames
from entangle._worker import main as protocol
from entangle.errors import WorkerStartError

from .batching import LOW_WATER, MOST_AT_ONCE, assign, extend
from .cpus import Processors
from .jobs import Job, Prepared, frame
from .line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .fleet import Fleet
    from .hub import Hub
    from .shipping import Shipper
    from .worker import WorkerProcess

PATIENCE = 0.001  # seconds that a call may keep others waiting behind it
_BLOCKED = 4  # workers that may sit there for others, on however small a machine


class Dispatcher:
    """The queue of calls, the leases, and the workers that are given both.

    Inside the monitor only.
    """

    def __init__(
        self,
        hub: Hub,
        fleet: Fleet,
        shipper: Shipper,
        capacity: int,
        failed: Callable[[Job, BaseException], None],
        read_all: Callable[[WorkerProcess], None],
    ) -> None:
        self._hub = hub
        self._fleet = fleet
        self._shipper = shipper
        self._failed = failed
        self._read_all = read_all
        self._free = capacity
        self._spares = capacity
        self._processors = Processors()
        self._queue = Line(self._crowd)
        self.append = self._queue.add
        self.dropped = self._queue.left
        self._tiny: dict[int, WorkerProcess] = {}
        self._busy = 0  # workers that hold leases
        self._blocked = 0  # workers whose calls wait for others
        self._most_blocked = max(_BLOCKED, 2 * capacity)
        self._refused = False

    def extend(self, jobs: list[Job]) -> None:
        """Queue several jobs of one run."""
        if jobs[0].call.rank()[1]:
            for job in jobs:
                self.append(job)
        else:
            self._queue.add_all(jobs)

    def put_back(self, jobs: list[Job]) -> None:
        """Queue jobs again, ahead of all others; cancelled ones are just let go."""
        for job in reversed(jobs):
            job.worker = None
            if not job.cancelled:
                self._queue.put_back(job)

    def pump(self) -> None:
        """Give queued jobs to workers as far as there is room."""
        queue = self._queue
        while queue.settle():
            job = queue[0]
            if job.over:
                queue.popleft()
            elif job.prepared.cpus <= self._free and not self._refused:
                worker = self._worker_for(job)
                if worker is None:
                    return
                self._free -= job.prepared.cpus
                self._busy += 1
                worker.leases = job.prepared.cpus
                batch = self._batch(job)
                self._give(worker, batch)
            elif not self._top_up(job):
                self._prepare_for(job)
                return

    def _prepare_for(self, job: Job) -> None:
        """Have a process forked for a job that waits, while others are busy."""
        prepared = job.prepared
        if prepared.key.fresh and not prepared.bound and not self._refused:
            self._fleet.spare(prepared.key, prepared.snapshot, self._spares)

    def _crowd(self) -> int:
        return self._blocked - self._most_blocked

    def lone(self) -> WorkerProcess | None:
        """Return the worker that alone is at work, if its answer is due any moment."""
        if self._busy == 1:
            for worker in self._tiny.values():
                return worker if worker.near() else None
        return None

    def _batch(self, first: Job) -> list[Job]:
        """Take the next job and, if it is tiny, others like it off the queue."""
        queue = self._queue
        queue.popleft()
        batch = [first]
        if queue and first.tiny():
            shares = self._free + len(self._tiny) + 1
            most = min(MOST_AT_ONCE, -(-(queue.size() + 1) // shares))
            extend(queue, batch, first.prepared.key, most)
        return batch

    def _top_up(self, first: Job) -> bool:
        """Queue tiny jobs behind running ones; False if no worker has room."""
        if not first.tiny():
            return False
        for worker in self._tiny.values():
            room = MOST_AT_ONCE - len(worker.outstanding)
            if (
                len(worker.outstanding) <= LOW_WATER
                and worker.key == first.prepared.key
                and not worker.killed
                and not worker.dirty
                and not worker.blocked
            ):
                batch: list[Job] = []
                extend(self._queue, batch, worker.key, min(room, LOW_WATER * 3))
                if batch:
                    self._give(worker, batch)
                    return True
        return False

    def _give(self, worker: WorkerProcess, batch: list[Job]) -> None:
        """Send jobs, and before them what they need, to a worker."""
        assign(worker, batch, self._provide)
        body, buffers, flags = frame(batch)
        if buffers:
            worker.send_with(frames.CALLS, body, buffers)
        else:
            worker.send(frames.pack(frames.CALLS, body, (), flags))
        if batch[0].tiny():
            self._tiny[worker.number] = worker
        if worker.watch is None and (worker.waiting() or _is_untold(batch)):
            self._watch(worker)

    def _provide(self, worker: WorkerProcess, prepared: Prepared) -> None:
        """Send what a call needs and the worker does not have yet."""
        snapshot, shipped = prepared.snapshot, prepared.shipped
        if snapshot.number != worker.snapshot:
            worker.snapshot = snapshot.number
            worker.send(frames.pack(frames.CONTEXT, snapshot.data))
        if shipped.number not in worker.functions:
            worker.forget_functions(self._shipper.forgotten)
            worker.functions.add(shipped.number)
            number = protocol.NUMBER.pack(shipped.number)
            worker.send(frames.pack(frames.FUNCTION, number + shipped.data))
        if prepared.payload is not None:
            for blob in prepared.payload.shared:
                if blob.number not in worker.shared:
                    worker.shared.add(blob.number)
                    number = protocol.NUMBER.pack(blob.number)
                    buffers = (blob.data, *blob.buffers)
                    worker.send_with(frames.SHARED, number, buffers)

    def _worker_for(self, job: Job) -> WorkerProcess | None:
        """Return a worker without work; None if none can be had now."""
        key = job.prepared.key
        processors: tuple[int, ...] = ()
        if job.prepared.bound:
            processors = self._processors.least_used(job.prepared.bound)
            key = key.bound(processors)
        try:
            worker = self._fleet.take(key, job.prepared.snapshot)
        except (OSError, WorkerStartError) as error:
            self.cannot_start(error)
            return None
        worker.processors = processors
        self._processors.use(processors)
        return worker

    def cannot_start(self, error: BaseException) -> None:
        """Wait for another worker's end if there is one, else fail the next call."""
        # One that waits for a nested run may wait for the very call that can't start.
        self._refused = self._fleet.end_idle() or any(
            worker.outstanding and not worker.blocked for worker in self._fleet
        )
        queue = self._queue
        while queue.settle() and queue[0].over:
            queue.popleft()
        if queue and not self._refused:
            self.refuse(queue.popleft(), error)

    def refuse(self, job: Job, error: BaseException) -> None:
        """Fail a job that no worker can be had for; drop it where it is queued."""
        if job.over:
            return
        if isinstance(error, WorkerStartError):
            self._failed(job, error)
        else:
            failure = WorkerStartError(detail=str(error))
            failure.__cause__ = error
            self._failed(job, failure)

    def blocked(self, worker: WorkerProcess) -> None:
        """The call of a worker may wait for others: its processors are free meanwhile.

        Counted: it goes on when each has been told to `resumed`.
        """
        worker.blocked += 1
        if worker.blocked == 1:
            self.withdraw(worker)
            self._free += worker.leases
            self._blocked += 1
            if worker.outstanding:
                worker.outstanding[0].prepared.shipped.waits()
            # Its end is not waited for any more: it may wait for what was refused.
            self._refused = False

    def resumed(self, worker: WorkerProcess) -> None:
        """The call of a worker goes on."""
        if worker.blocked:
            worker.blocked -= 1
            if not worker.blocked:
                self._blocked -= 1
                # Maybe below zero: then nothing new starts until others have ended.
                self._free -= worker.leases

    def settle(self, worker: WorkerProcess) -> None:
        """Let a worker rest that has nothing left to do."""
        if not worker.outstanding and not worker.killed:
            self.release(worker)
            self._fleet.rest(worker)

    def release(self, worker: WorkerProcess) -> None:
        """Take back what a worker holds: it has nothing to do, or is gone."""
        self._tiny.pop(worker.number, None)
        if worker.blocked:
            self._blocked -= 1
        else:
            self._free += worker.leases
        self._busy -= bool(worker.leases)
        worker.leases = 0
        worker.blocked = worker.waits = 0
        worker.outside = False
        self._processors.release(worker.processors)
        worker.processors = ()
        self._refused = False

    # -- taking back -------------------------------------------------------------

    def _watch(self, worker: WorkerProcess) -> None:
        worker.watched = worker.begun()[0]
        worker.watch = self._hub.at(
            time.monotonic() + PATIENCE, partial(self._look_at, worker)
        )

    def _look_at(self, worker: WorkerProcess) -> None:
        """See whether a call takes longer than expected, and who waits for it.

        Those before it may have left their answers in the page, those behind it are
        taken back.
        """
        worker.watch = None
        if worker.killed or not worker.outstanding:
            return
        entered, moment = worker.begun()
        if entered == worker.watched:
            first = worker.outstanding[0]
            if first.number == entered and _is_untold(worker.outstanding):
                _tell_start(first, worker.pid, moment)
            if worker.waiting():
                self._read_all(worker)
                self.withdraw(worker)
        # Until one call is left: what was about to begin, and is answered, has to be
        # seen, too. Who observes it is to hear of the start of that one.
        more = worker.waiting() or _is_untold(worker.outstanding)
        if more and worker.watch is None:
            self._watch(worker)

    def withdraw(self, worker: WorkerProcess) -> None:
        """Take back all calls whose token the worker has not taken."""
        numbers = worker.take_back()
        if numbers:
            back = [job for job in worker.outstanding if job.number in numbers]
            worker.outstanding = deque(
                job for job in worker.outstanding if job.number not in numbers
            )
            self._tiny.pop(worker.number, None)
            self.put_back(back)
            self.settle(worker)


def _is_untold(jobs: Sequence[Job]) -> bool:
    """Tell whether somebody is to hear of the first one's start, and has not."""
    if not jobs or jobs[0].told:
        return False
    call = jobs[0].call
    return call.captures and call.wants_start


def _tell_start(job: Job, pid: int, moment: int) -> None:
    """Tell of the start of a call that was expected to end sooner."""
    job.told = True
    job.call.pid = pid
    job.call.started(moment / 1e9)
