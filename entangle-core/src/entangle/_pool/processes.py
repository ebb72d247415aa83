"""The process pool: calls, from the order to run them to the report of their end.

Data flow, all inside the monitor: `start` queues a job with the `Dispatcher`, which
gives it to a worker after the batch of news is worked off; a worker's answers arrive
in `_readable`, its death in `worker_died`.
"""

from __future__ import annotations

import errno
import os
import pickle
import select
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._log import Log
from entangle._worker import frames, space
from entangle._worker import main as protocol
from entangle._worker.attach import received
from entangle.errors import WorkerStartError

from . import death, values
from .dispatch import Dispatcher
from .fleet import Fleet
from .jobs import Job, Prepared
from .seen import SEEN, seen
from .shared_names import SharedByName

log = Log("entangle.pool")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from entangle._seam.call import Call

    from .hub import Hub
    from .limits import Limits
    from .nested import NestedCalls
    from .output import Printer
    from .segments import Segments
    from .shipping import Shipper
    from .worker import WorkerProcess
    from .zygotes import ZygoteProcess

MOST_WAITING = 0.5  # seconds that a call's end waits for that of its nested calls
MOST_DEATHS = 3  # of workers that died before they entered a call's body
NESTING_PRELOAD = ("entangle._run.api",)
GRACE_AFTER_END = 0.02  # seconds a worker may outlive its connection
MOST_LOOKS = 8  # at a worker that seems to be dying: for five seconds in all


class Processes:
    """All local worker processes of this process. Inside the monitor only."""

    def __init__(
        self,
        hub: Hub,
        printer: Printer,
        shipper: Shipper,
        limits: Limits,
        capacity: int,
        idle: float,
        segments: Segments,
    ) -> None:
        self.capacity = capacity
        self._segments = segments
        self._shared = SharedByName(segments)
        self._hub = hub
        self._limits = limits
        self._jobs: dict[Call, Job] = {}
        self._fleet = Fleet(hub, printer, self, self._readable, idle, segments)
        self._dispatcher = Dispatcher(
            hub, self._fleet, shipper, capacity, self._failed, self._read_all
        )
        at = self._dispatcher  # told by nested calls, of the worker that has asked
        self.steps_aside, self.goes_on = at.blocked, at.resumed
        self._closed = False
        self._renewed = False  # whether the zygote was, since the last fork
        self._deaths = death.Deaths()
        self.nested: NestedCalls | None = None

    # -- what others ask for -----------------------------------------------------

    def start(self, call: Call, prepared: Prepared, *, plain: bool = False) -> None:
        """Queue a call, to which everything about it is reported.

        ``plain`` says that its arguments are known to be atoms, none by keyword.
        """
        job = self._jobs[call] = Job(call, prepared, plain=plain)
        if prepared.limit is None and prepared.group is None:
            self._dispatcher.append(job)
        elif prepared.limit is None:
            self._admit(job)
        else:
            # By the function: tasks that run graphs send it here from elsewhere, too.
            key = prepared.shipped.digest
            self._limits.enter(key, prepared.limit, partial(self._let_in, job))

    def start_all(self, calls: Sequence[Call], prepared: Prepared) -> None:
        """Queue calls of which the same was made, all of them plain; as `start`."""
        if prepared.limit is not None or prepared.group is not None:
            for call in calls:
                self.start(call, prepared, plain=True)
            return
        jobs = [Job(call, prepared, plain=True) for call in calls]
        self._jobs.update(zip(calls, jobs, strict=True))
        self._dispatcher.extend(jobs)

    def cancel(self, call: Call) -> None:
        """End a call; `Call.cancelled` tells how, unless its result was faster."""
        job = self._jobs.get(call)
        if job is None or job.cancelled or job.over:
            return
        job.cancelled = True
        worker = job.worker
        if worker is not None:
            self._dispatcher.withdraw(worker)
        # Asked again: it may have been taken back.
        worker = job.worker
        if worker is None:
            self._over(job, partial(call.cancelled, "already done"))
            self._dispatcher.dropped()
            return
        self._read_all(worker)
        if not job.over:
            worker.kill()
            self._end_children(worker, job)
            if not worker.may_exist():
                # Its zygote is starting, maybe slowly, and will end it unasked.
                self._over(job, partial(call.cancelled, "killed"))

    def expect(self, preload: tuple[str, ...], at_once: bool) -> None:  # noqa: FBT001 - posted
        """Have a zygote start, since calls that need it are being prepared.

        Args:
            preload: What its workers hold.
            at_once: Whether the first of them needs that already.
        """
        if not self._closed:
            try:
                self._fleet.zygote(preload, at_once=at_once)
            except (OSError, WorkerStartError) as error:
                # The first call will meet the same and tell its caller.
                log.debug("no zygote could be started ahead: %s", error)

    def pump(self) -> None:
        """Give queued jobs to workers as far as there is room."""
        self._dispatcher.pump()

    def lone(self) -> WorkerProcess | None:
        """Return the worker that alone is at work, if its answer is due any moment."""
        return self._dispatcher.lone()

    def forget_shared(self, numbers: set[int]) -> None:
        """Have the workers drop values that no call will need again."""
        for worker in self._fleet:
            gone = worker.shared & numbers
            if gone:
                worker.shared -= gone
                body = pickle.dumps(((), sorted(gone)), 4)
                worker.send(frames.pack(frames.FORGET, body))

    def close(self) -> None:
        """End all workers and zygotes, and wait for their end."""
        self._closed = True
        self._fleet.close()
        for job in list(self._jobs.values()):
            how = "killed" if job.worker else "already done"
            self._over(job, partial(job.call.cancelled, how))

    def blocked(self, *, begins: bool = False) -> int:  # noqa: ARG002
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

    # -- the way in --------------------------------------------------------------

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
            self._dispatcher.append(job)

    def _granted(
        self, job: Job, processor: int | None, error: BaseException | None
    ) -> None:
        """Queue a job whose scheduler has found a processor for it."""
        group = job.prepared.group
        if processor is not None and group is not None and job.over:
            group.release(processor)
        elif error is not None and not job.over:
            self._failed(job, error)
        elif processor is not None:
            job.processor = processor
            key = job.prepared.key.bound((processor,))
            job.prepared = job.prepared._replace(key=key)
            self._dispatcher.append(job)

    # -- the way out -------------------------------------------------------------

    def _failed(self, job: Job, error: BaseException) -> None:
        self._over(job, partial(job.call.failed, error))

    def _over(self, job: Job, report: Callable[[], None]) -> None:
        """Let go of a job whose process is gone, and report its end.

        What it had running elsewhere, by a graph of its own, is waited for: whoever
        hears of the end may rely on nothing being left.
        """
        self._finish(job)
        job.report = report
        self._report(job)
        if job.report is not None:
            # Not for ever: a zygote may be stopped, or busy with an import.
            late = partial(self._report_anyway, job)
            self._hub.at(time.monotonic() + MOST_WAITING, late)

    def _report_anyway(self, job: Job) -> None:
        job.below = 0
        self._report(job)

    def _report(self, job: Job | None) -> None:
        while job is not None and job.report is not None and not job.below:
            report, job.report = job.report, None
            self._jobs.pop(job.call, None)
            report()
            above, job.above = job.above, None
            if above is not None:
                above.below -= 1
            job = above

    def _finish(self, job: Job) -> None:
        job.over = True
        if job.limited:
            job.limited = False
            self._limits.leave(job.prepared.shipped.digest)
        if job.processor is not None and job.prepared.group is not None:
            job.prepared.group.release(job.processor)
            job.processor = None

    def _end_children(self, worker: WorkerProcess, job: Job | None = None) -> None:
        """End the nested calls of a call that is over.

        Args:
            worker: The worker of the call.
            job: The call, if its end is to be reported after theirs.
        """
        children, worker.children = worker.children, {}
        if children:
            self._dispatcher.resumed(worker)
        for child in children.values():
            child.orphaned()
            self.cancel(child)
            below = self._jobs.get(child)
            if below is None or job is None:
                continue
            if below.worker is None or below.worker.may_exist():
                below.above = job
                job.below += 1

    # -- births and deaths -------------------------------------------------------

    def worker_forked(self, number: int, pid: int) -> None:
        """Take note of a new worker's process id."""
        worker = self._fleet.get(number)
        if worker is not None:
            worker.pid = pid
            self._renewed = False

    def worker_refused(self, number: int, error: int) -> None:
        """Queue again what a worker was given that could not be forked."""
        worker = self._fleet.get(number)
        if worker is None:
            return
        jobs = list(worker.outstanding)
        zygote = worker.zygote
        self._bury(worker, None)
        if not jobs or (error == errno.EMFILE and self._renew(zygote)):
            return  # nobody waits for it, or another one will try
        text = os.strerror(error)
        if error != errno.EMSGSIZE:
            self._dispatcher.cannot_start(OSError(error, text))
            return
        text += ": env= and cwd= of a task may have 200 KB together"
        failure = OSError(error, text)
        for job in jobs:
            # No worker's end would help these.
            self._dispatcher.refuse(job, failure)

    def _renew(self, zygote: ZygoteProcess) -> bool:
        """Have another zygote try: this one keeps the limit that it was started with.

        Returns:
            Whether another will; not if the one before was given up, too.
        """
        if not self._fleet.current(zygote):
            return True
        if self._renewed:
            return False
        self._renewed = True
        self._fleet.retire(zygote)
        return True

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
                self._failed(job, death.at_boot(status))

    def _bury(
        self, worker: WorkerProcess, status: int | None, *, zygote: bool = False
    ) -> None:
        """Forget a worker that is gone; redispatch or fail what it was given.

        Args:
            worker: The worker.
            status: How it ended, as of waitpid; None if it never was a process.
            zygote: Whether it died with its zygote.
        """
        jobs = list(worker.outstanding)
        worker.outstanding.clear()
        entered = worker.begun()[0]
        self._dispatcher.release(worker)
        self._end_children(worker, jobs[0] if jobs else None)
        again: list[Job] = []
        for job in jobs:
            job.worker = None
            if job.over:
                continue
            if job.cancelled:
                how = "already done" if status is None else "killed"
                self._over(job, partial(job.call.cancelled, how))
            elif status is None:
                again.append(job)
            elif job.number > entered and job.deaths < MOST_DEATHS:
                job.deaths += bool(worker.broken) or not worker.killed
                again.append(job)
            else:
                name = job.call.name
                error = self._deaths.error(name, worker, status, zygote=zygote)
                self._failed(job, error)
        self._fleet.forget(worker)
        self._segments.gone(worker.number, alone=not zygote)
        self._dispatcher.put_back(again)
        for job in worker.answered_late:
            self._report(job)

    # -- answers -----------------------------------------------------------------

    def _readable(self, worker: WorkerProcess, mask: int) -> None:
        if mask & select.EPOLLOUT:
            worker.flush()
            if not mask & ~select.EPOLLOUT:
                return
        self._read(worker)

    def _read_all(self, worker: WorkerProcess) -> None:
        """Handle everything that a worker has answered so far, sent or not."""
        unsent = worker.unsent()  # first: what was sent before it is to be read then
        while self._read(worker):
            pass
        if unsent:
            try:
                self._values(worker, unsent, 0)
            except Exception as error:
                self._broken(worker, f"it left what is no answer: {error!r}")
            else:
                self._dispatcher.settle(worker)

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
                time.monotonic() + GRACE_AFTER_END, partial(self._silent, worker, 1)
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
        self._dispatcher.settle(worker)
        return True

    def _silent(self, worker: WorkerProcess, looks: int) -> None:
        """Tell a worker that closed its stream from one that is dying."""
        if self._fleet.get(worker.number) is not worker or worker.killed:
            return
        if looks < MOST_LOOKS and death.exiting(worker.pid):
            self._hub.at(
                time.monotonic() + GRACE_AFTER_END * 2**looks,
                partial(self._silent, worker, looks + 1),
            )
        else:
            self._broken(worker, "it closed its connection to the caller")

    def _broken(self, worker: WorkerProcess, why: str) -> None:
        """End a worker that can't be talked to; an end-of-file alone is no death."""
        if self._fleet.get(worker.number) is worker and not worker.killed:
            self._hub.unwatch(worker.socket.fileno())
            worker.broken = why
            worker.kill()

    def _answered(self, worker: WorkerProcess, item: Any) -> None:
        kind = item.kind
        if kind == frames.VALUES:
            self._values(worker, item.body, item.flags & frames.DIRTY)
        elif frames.RESULT <= kind <= frames.FAILED:
            self._call_over(worker, item)
        elif kind == frames.STARTED:
            number, moment = protocol.ANSWER.unpack_from(item.body)
            if worker.outstanding and worker.outstanding[0].number == number:
                call = worker.outstanding[0].call
                call.pid = worker.pid
                call.started(moment / 1e9)
        elif kind == frames.NESTED:
            self._nested_request(worker, item)
        elif kind == frames.SPACE:
            self._space(worker, item)
        elif kind == frames.RELEASED:
            self._segments.released(worker.number, pickle.loads(item.body))
        elif kind == frames.BLOCKED:
            self._blocked(worker)
        elif kind == frames.RESUMED:
            self._resumed(worker)
        else:
            raise ValueError(f"unknown kind {kind}")

    def _values(self, worker: WorkerProcess, answers: bytes, dirty: int) -> None:
        """Pass on what calls have returned."""
        more = dirty or worker.children or worker.key.fresh
        jobs = None if more else self._jobs
        values.land(worker, answers, self._let_go, dirty, jobs)

    def _call_over(self, worker: WorkerProcess, item: Any) -> None:
        """Pass on how a call ended that is more than a plain value."""
        kind, body = item.kind, item.body
        number, took = protocol.ANSWER.unpack_from(body)
        worker.finish_lines()
        call = self._let_go(worker, number, took, item.flags & frames.DIRTY)
        if kind == frames.FAILED:
            call.failed_encoded(bytes(body[protocol.ANSWER.size :]))
            return
        parcel = received(item.buffers[0], item.buffers[1:], item.marks[1:])
        if kind == frames.RESULT:
            parcel.shown = bytes(body[protocol.ANSWER.size :]).decode()
            call.succeeded(parcel)
        else:
            call.returned_graph(parcel)

    def _let_go(
        self, worker: WorkerProcess, number: int, took: int, dirty: int
    ) -> Call:
        """Let go of a call that its worker has answered."""
        job = worker.outstanding[0]
        if job.number != number:
            raise ValueError(f"answer to call {number}, expected {job.number}")
        prepared = job.prepared
        prepared.shipped.took(took)
        worker.answered = number
        worker.outstanding.popleft()
        job.worker = None
        job.over = True
        if job.limited or job.processor is not None:
            self._finish(job)
        call = job.call
        if call.captures:
            call.pid, call.took = worker.pid, took
        self._jobs.pop(call, None)
        if worker.children:
            self._end_children(worker)
        if job.above is not None:
            # It was faster than its own end, which others wait for.
            job.report = _nothing
            if worker.killed:
                worker.answered_late.append(job)
            else:
                self._report(job)
        if dirty or prepared.key.fresh:
            worker.dirty = True
            self._dispatcher.withdraw(worker)
        return call

    def _space(self, worker: WorkerProcess, item: Any) -> None:
        """Give a worker shared memory to write to, or note why it could not use it."""
        request, what, detail = pickle.loads(item.body)
        if what in SEEN:
            seen(worker, request, what, detail)
            return
        if what == space.FAILED:
            self._segments.refused(detail)
            return
        answer: Any
        try:
            if what == space.WRITE:
                answer = self._segments.grant(worker.number, detail)
            else:
                answer = self._shared.answer(worker, what, detail)
        except MemoryError as error:
            answer = str(error)
        if answer is not None and type(answer) is not str:
            answer = (answer[0].fields(), *answer[1:])
        worker.send(frames.pack(frames.GRANTED, pickle.dumps((request, answer), 4)))

    def run_over(self, run: object) -> None:
        """Let go of the memory that the tasks of a run have shared."""
        self._shared.run_over(run)

    def unmap(self, key: tuple[int, int]) -> None:
        """Have the workers let go of a file that nobody uses any more."""
        for worker in self._fleet:
            worker.send(frames.pack(frames.UNMAP, pickle.dumps([key], 4)))

    def _nested_request(self, worker: WorkerProcess, item: Any) -> None:
        if self.nested is None or worker.killed:
            return  # what it asks for would outlive it
        if not worker.zygote.nesting:
            # The next task that runs a graph finds the framework imported.
            worker.zygote.nesting = True
            worker.zygote.load(NESTING_PRELOAD)
        self.nested.requested(worker, item)

    def _blocked(self, worker: WorkerProcess) -> None:
        """A call waits for a nested run."""
        self._dispatcher.blocked(worker)
        worker.waits += 1
        job = worker.outstanding[0] if worker.outstanding else None
        if worker.waits == 1 and job is not None and job.limited:
            # What it waits for may be calls of its own task.
            job.limited = False
            worker.outside = True
            self._limits.leave(job.prepared.shipped.digest)

    def _resumed(self, worker: WorkerProcess) -> None:
        self._dispatcher.resumed(worker)
        worker.waits = max(0, worker.waits - 1)
        if not worker.waits and worker.outside and worker.outstanding:
            worker.outside = False
            job = worker.outstanding[0]
            job.limited = True
            self._limits.step_in(job.prepared.shipped.digest)


def _nothing() -> None:
    """Report nothing: it was said already."""
