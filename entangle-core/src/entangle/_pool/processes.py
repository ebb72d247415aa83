"""The process pool: a queue of calls, warm workers, and leases of processors.

Data flow, all inside the monitor: `start` queues a job; after each batch of news
`pump` gives queued jobs to workers, first come first served, as far as processors
are free; a worker's answers arrive in `_readable`, its death in `worker_died`.

A call whose function has lately taken well under a millisecond may be queued in the
worker behind others like it, to a millisecond of work. Its token then lies in a pipe:
what runs longer than expected, blocks or is to be ended has the calls behind it taken
back first, so that no call ever waits for, or dies with, somebody else's.
"""

from __future__ import annotations

import errno
import logging
import os
import pickle
import select
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._worker import frames
from entangle._worker import main as protocol
from entangle._worker.attach import received
from entangle.errors import WorkerStartError

from . import death
from .batching import LOW_WATER, MOST_AT_ONCE, TINY_NS, extend
from .cpus import Processors
from .fleet import Fleet
from .jobs import Job, Prepared, frame, shared_frame

log = logging.getLogger("entangle.pool")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle._seam.call import Call

    from .hub import Hub
    from .limits import Limits
    from .nested import NestedCalls
    from .output import Printer
    from .serial import Serial
    from .shipping import Shipper
    from .worker import WorkerProcess
    from .zygotes import ZygoteProcess

PATIENCE = 0.001  # seconds that a call may keep others waiting behind it
MOST_DEATHS = 3  # of workers that died before they entered a call's body
NESTING_PRELOAD = ("entangle._run.api",)
GRACE_AFTER_END = 0.02  # seconds a worker may outlive its connection
# What nearly every module with tasks needs, and what functions by value take beyond.
LEAN_PRELOAD = ("entangle.process",)
STANDARD_PRELOAD = (*LEAN_PRELOAD, "cloudpickle")


class Processes:
    """All local worker processes of this process. Inside the monitor only."""

    def __init__(
        self,
        hub: Hub,
        printer: Printer,
        notifier: Serial,
        shipper: Shipper,
        limits: Limits,
        capacity: int,
        idle: float,
    ) -> None:
        self.capacity = capacity
        self._hub = hub
        self._printer = printer
        self._notifier = notifier
        self._shipper = shipper
        self._free = capacity
        self._limits = limits
        self._processors = Processors()
        self._queue: deque[Job] = deque()
        self._jobs: dict[Call, Job] = {}
        self._fleet = Fleet(hub, printer, self, self._readable, idle)
        self._tiny: dict[int, WorkerProcess] = {}
        self._refused = False
        self._closed = False
        self._deaths = death.Deaths()
        self.nested: NestedCalls | None = None

    # -- what others ask for -----------------------------------------------------

    def start(self, call: Call, prepared: Prepared) -> None:
        """Queue a call; everything about it is reported to the call."""
        job = self._jobs[call] = Job(call, prepared)
        if prepared.limit is None:
            self._admit(job)
        else:
            # By the function: tasks that run graphs send it here from elsewhere, too.
            key = prepared.shipped.digest
            self._limits.enter(key, prepared.limit, partial(self._let_in, job))

    def _let_in(self, job: Job) -> bool:
        """Admit a job that had to wait for others of its task."""
        if job.over:
            return False
        job.limited = True
        self._admit(job)
        return True

    def _admit(self, job: Job) -> None:
        if job.prepared.group is not None:
            job.prepared.group.request(partial(self._granted, job))
        else:
            self._queue.append(job)

    def expect(self, preload: tuple[str, ...]) -> None:
        """Have a zygote start, since calls that need it are being prepared."""
        if not self._closed:
            try:
                self._fleet.zygote(preload)
            except (OSError, WorkerStartError) as error:
                # The first call will meet the same and tell its caller.
                log.debug("no zygote could be started ahead: %s", error)

    def cancel(self, call: Call) -> None:
        """End a call; `Call.cancelled` tells how, unless its result was faster."""
        job = self._jobs.get(call)
        if job is None or job.cancelled:
            return
        job.cancelled = True
        worker = job.worker
        if worker is not None:
            self._withdraw(worker)
        # Asked again: it may have been taken back.
        worker = job.worker
        if worker is None:
            self._finish(job)
            call.cancelled("already done")
            return
        self._read_all(worker)
        if not job.over:
            worker.kill()

    def pump(self) -> None:
        """Give queued jobs to workers as far as there is room."""
        queue = self._queue
        while queue:
            job = queue[0]
            if job.over:
                queue.popleft()
            elif job.prepared.cpus <= self._free and not self._refused:
                worker = self._worker_for(job)
                if worker is None:
                    return
                self._free -= job.prepared.cpus
                worker.leases = job.prepared.cpus
                batch = self._batch(job)
                self._give(worker, batch)
            elif not self._top_up(job):
                return

    def close(self) -> None:
        """End all workers and zygotes, and wait for their end."""
        self._closed = True
        self._fleet.close()
        for job in list(self._jobs.values()):
            self._finish(job)
            job.call.cancelled("killed" if job.worker else "already done")

    def blocked(self) -> int:
        """A thread of this process waits for a run: it holds no lease of ours."""
        return 0

    def resumed(self, lease: int) -> None:
        """A thread of this process has its run's value."""

    def descriptors(self) -> Iterator[int]:
        """Yield what a forked child of this process has to close."""
        return self._fleet.descriptors()

    def pids(self) -> list[int]:
        """Return the process ids of all processes of the pool."""
        return self._fleet.pids()

    # -- giving ------------------------------------------------------------------

    def _batch(self, first: Job) -> list[Job]:
        """Take the next job and, if it is tiny, others like it off the queue."""
        queue = self._queue
        queue.popleft()
        batch = [first]
        if queue and first.tiny(TINY_NS):
            shares = self._free + len(self._tiny) + 1
            most = min(MOST_AT_ONCE, -(-(len(queue) + 1) // shares))
            extend(queue, batch, first.prepared.key, most)
        return batch

    def _top_up(self, first: Job) -> bool:
        """Queue tiny jobs behind running ones; False if no worker has room."""
        if not first.tiny(TINY_NS):
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
        behind = bool(worker.outstanding)
        tokens: list[int] = []
        for job in batch:
            job.worker = worker
            job.number = worker.next_sequence()
            job.token = behind
            if behind:
                tokens.append(job.number)
            behind = True
            self._provide(worker, job.prepared)
            worker.outstanding.append(job)
        if tokens:
            worker.grant(tokens)
        worker.send(frame(batch))
        if batch[0].tiny(TINY_NS):
            self._tiny[worker.number] = worker
        if worker.waiting() and worker.watch is None:
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
                    worker.send(shared_frame(blob))

    def forget_shared(self, numbers: set[int]) -> None:
        """Have the workers drop values that no call will need again."""
        for worker in self._fleet:
            gone = worker.shared & numbers
            if gone:
                worker.shared -= gone
                body = pickle.dumps(((), sorted(gone)), 4)
                worker.send(frames.pack(frames.FORGET, body))

    def _granted(
        self, job: Job, processor: int | None, error: BaseException | None
    ) -> None:
        """Queue a job whose scheduler has found a processor for it."""
        group = job.prepared.group
        if processor is not None and group is not None and job.over:
            group.release(processor)
        elif error is not None:
            self._finish(job)
            job.call.failed(error)
        elif processor is not None:
            job.processor = processor
            key = job.prepared.key.bound((processor,))
            job.prepared = job.prepared._replace(key=key)
            self._queue.append(job)

    # -- workers -----------------------------------------------------------------

    def _worker_for(self, job: Job) -> WorkerProcess | None:
        """Return a worker without work; None if none can be had now."""
        key = job.prepared.key
        processors: tuple[int, ...] = ()
        if job.prepared.bound:
            processors = self._processors.least_used(job.prepared.bound)
            key = key.bound(processors)
        try:
            worker = self._fleet.take(key)
        except (OSError, WorkerStartError) as error:
            self._cannot_start(error)
            return None
        worker.processors = processors
        self._processors.use(processors)
        return worker

    def _cannot_start(self, error: BaseException) -> None:
        """Wait for another worker's end if there is one, else fail the next call."""
        self._refused = self._fleet.end_idle() or any(
            worker.outstanding for worker in self._fleet
        )
        if self._refused:
            return
        job = self._queue.popleft()
        self._finish(job)
        if isinstance(error, WorkerStartError):
            job.call.failed(error)
        else:
            failure = WorkerStartError(detail=str(error))
            failure.__cause__ = error
            job.call.failed(failure)

    def worker_forked(self, number: int, pid: int) -> None:
        """Take note of a new worker's process id."""
        worker = self._fleet.get(number)
        if worker is not None:
            worker.pid = pid

    def worker_refused(self, number: int, error: int) -> None:
        """Queue again what a worker was given that could not be forked."""
        worker = self._fleet.get(number)
        if worker is None:
            return
        jobs = list(worker.outstanding)
        worker.outstanding.clear()
        self._bury(worker, None)
        self._requeue(jobs)
        text = os.strerror(error)
        if error == errno.EMSGSIZE:
            text += ": env= and cwd= of a task may have 200 KB together"
        self._cannot_start(OSError(error, text))

    def worker_died(self, number: int, status: int) -> None:
        """Deliver what a dead worker had answered, and settle the rest."""
        worker = self._fleet.get(number)
        if worker is not None:
            self._read_all(worker)
            worker.drain_output()
            self._bury(worker, status)

    def zygote_died(self, zygote: ZygoteProcess, status: int) -> None:
        """Settle all workers of a zygote: the kernel has ended them with it."""
        lost = self._fleet.forget_zygote(zygote)
        if lost and not zygote.ready:
            self._cannot_boot(lost, status)
            return
        death.end_strays(zygote.mark)
        for worker in lost:
            self._read_all(worker)
            worker.drain_output()
            self._bury(worker, 9, zygote=True)

    def _cannot_boot(self, workers: list[WorkerProcess], status: int) -> None:
        for worker in workers:
            jobs = list(worker.outstanding)
            worker.outstanding.clear()
            self._bury(worker, None)
            for job in jobs:
                self._finish(job)
                job.call.failed(death.at_boot(status))

    def _bury(
        self, worker: WorkerProcess, status: int | None, *, zygote: bool = False
    ) -> None:
        """Forget a worker that is gone; redispatch or fail what it was given."""
        self._tiny.pop(worker.number, None)
        jobs = list(worker.outstanding)
        worker.outstanding.clear()
        entered, _ = worker.begun()
        self._unlease(worker)
        self._end_children(worker)
        again: list[Job] = []
        for job in jobs:
            job.worker = None
            if job.cancelled:
                self._finish(job)
                job.call.cancelled("killed")
            elif (
                job.number > entered and job.deaths < MOST_DEATHS and status is not None
            ):
                job.deaths += bool(worker.broken) or not worker.killed
                again.append(job)
            elif not self._closed or status is not None:
                self._finish(job)
                job.call.failed(
                    self._deaths.error(
                        job.call.name, worker, status or 0, zygote=zygote
                    )
                )
        self._fleet.forget(worker)
        self._requeue(again)
        self._refused = False

    def _requeue(self, jobs: list[Job]) -> None:
        for job in reversed(jobs):
            job.worker = None
            if job.cancelled:
                self._finish(job)
                job.call.cancelled("already done")
            else:
                self._queue.appendleft(job)

    # -- answers -----------------------------------------------------------------

    def _readable(self, worker: WorkerProcess, mask: int) -> None:
        if mask & select.EPOLLOUT:
            worker.flush()
            if not mask & ~select.EPOLLOUT:
                return
        self._read(worker)

    def _read_all(self, worker: WorkerProcess) -> None:
        """Handle everything that a worker has sent so far."""
        while self._read(worker):
            pass

    def _read(self, worker: WorkerProcess) -> bool:
        """Handle what one receive brings; False when there was nothing."""
        if worker.broken or worker.silent:
            return False
        try:
            arrived = worker.receive()
        except BlockingIOError:
            return False
        except (EOFError, OSError):
            # Mostly it has died, which its zygote tells with all details at once.
            self._hub.unwatch(worker.socket.fileno())
            worker.silent = True
            self._hub.at(
                time.monotonic() + GRACE_AFTER_END,
                partial(self._broken, worker, "it closed its connection to the caller"),
            )
            return False
        except frames.ProtocolError as error:
            self._broken(worker, f"it wrote to its connection to the caller: {error}")
            return False
        for item in arrived:
            try:
                self._answered(worker, item)
            except Exception as error:
                self._broken(worker, f"it sent what is no answer: {error!r}")
                return False
        self._settle(worker)
        return True

    def _settle(self, worker: WorkerProcess) -> None:
        """Let a worker rest that has nothing left to do."""
        if not worker.outstanding and not worker.killed:
            self._tiny.pop(worker.number, None)
            self._unlease(worker)
            self._fleet.rest(worker)

    def _broken(self, worker: WorkerProcess, why: str) -> None:
        """End a worker that can't be talked to; an end-of-file alone is no death."""
        if self._fleet.get(worker.number) is worker and not worker.killed:
            self._hub.unwatch(worker.socket.fileno())
            worker.broken = why
            worker.kill()

    def _answered(self, worker: WorkerProcess, item: Any) -> None:
        kind = item.kind
        if frames.VALUE <= kind <= frames.FAILED:
            self._call_over(worker, item)
        elif kind == frames.STARTED:
            number, moment = protocol.ANSWER.unpack_from(item.body)
            if worker.outstanding and worker.outstanding[0].number == number:
                worker.outstanding[0].call.started(moment / 1e9)
        elif kind == frames.NESTED:
            self._nested_request(worker, item)
        elif kind == frames.BLOCKED:
            self._blocked(worker)
        elif kind == frames.RESUMED:
            self._resumed(worker)
        elif kind != frames.HELLO:
            raise ValueError(f"unknown kind {kind}")

    def _call_over(self, worker: WorkerProcess, item: Any) -> None:
        """Pass on how a call ended, and let go of it."""
        kind, body = item.kind, item.body
        number, took = protocol.ANSWER.unpack_from(body)
        job = worker.outstanding[0]
        if job.number != number:
            raise ValueError(f"answer to call {number}, expected {job.number}")
        worker.finish_lines()
        worker.outstanding.popleft()
        job.worker = None
        self._finish(job)
        if worker.children:
            self._end_children(worker)
        if item.flags & frames.DIRTY or job.prepared.key.fresh:
            worker.dirty = True
            self._withdraw(worker)
        job.prepared.shipped.took(took)
        call = job.call
        start = protocol.ANSWER.size
        if kind == frames.VALUE:
            call.succeeded(pickle.loads(memoryview(body)[start:]))
        elif kind == frames.FAILED:
            call.failed_encoded(bytes(body[start:]))
        else:
            parcel = received(item.buffers[0], item.buffers[1:], item.readonly[1:])
            if kind == frames.RESULT:
                call.succeeded(parcel)
            else:
                call.returned_graph(parcel)

    def _nested_request(self, worker: WorkerProcess, item: Any) -> None:
        if self.nested is not None and worker.outstanding:
            if not worker.zygote.nesting:
                # The next task that runs a graph finds the framework imported.
                worker.zygote.nesting = True
                worker.zygote.load(NESTING_PRELOAD)
            self.nested.requested(worker, item)

    def _finish(self, job: Job) -> None:
        job.over = True
        self._jobs.pop(job.call, None)
        if job.limited:
            job.limited = False
            self._limits.leave(job.prepared.shipped.digest)
        if job.processor is not None and job.prepared.group is not None:
            job.prepared.group.release(job.processor)
            job.processor = None

    def _unlease(self, worker: WorkerProcess) -> None:
        if not worker.blocked:
            self._free += worker.leases
        worker.leases = 0
        worker.blocked = 0
        worker.outside = False
        self._processors.release(worker.processors)
        worker.processors = ()
        self._refused = False

    # -- slow, blocked and idle workers ------------------------------------------

    def _watch(self, worker: WorkerProcess) -> None:
        worker.watched = worker.begun()[0]
        worker.watch = self._hub.at(
            time.monotonic() + PATIENCE, partial(self._look_at, worker)
        )

    def _look_at(self, worker: WorkerProcess) -> None:
        """Take back what waits behind a call that takes longer than expected."""
        worker.watch = None
        if not worker.waiting() or worker.killed:
            return
        entered, _ = worker.begun()
        if entered == worker.watched:
            self._withdraw(worker)
        else:
            self._watch(worker)

    def _withdraw(self, worker: WorkerProcess) -> None:
        """Take back all calls whose token the worker has not taken."""
        numbers = worker.take_back()
        if numbers:
            back = [job for job in worker.outstanding if job.number in numbers]
            worker.outstanding = deque(
                job for job in worker.outstanding if job.number not in numbers
            )
            self._tiny.pop(worker.number, None)
            self._requeue(back)
            self._settle(worker)

    def _blocked(self, worker: WorkerProcess) -> None:
        """A call waits for a nested run: its processors are free meanwhile."""
        worker.blocked += 1
        if worker.blocked == 1:
            self._withdraw(worker)
            self._free += worker.leases
            job = worker.outstanding[0] if worker.outstanding else None
            if job is not None and job.limited:
                # What it waits for may be calls of its own task.
                job.limited = False
                worker.outside = True
                self._limits.leave(job.prepared.shipped.digest)

    def _resumed(self, worker: WorkerProcess) -> None:
        if worker.blocked:
            worker.blocked -= 1
            if not worker.blocked:
                # Maybe below zero: then nothing new starts until others have ended.
                self._free -= worker.leases
                if worker.outside and worker.outstanding:
                    worker.outside = False
                    job = worker.outstanding[0]
                    job.limited = True
                    self._limits.step_in(job.prepared.shipped.digest)

    def _end_children(self, worker: WorkerProcess) -> None:
        """End the nested calls of a call that is over."""
        children, worker.children = worker.children, {}
        for child in children.values():
            child.orphaned()
            self.cancel(child)
