"""The places of one stream executor: opened when needed, given calls, closed when idle.

Data flow, all inside the monitor: `start` queues a job; `pump`, after each batch of
news, gives jobs to workers; answers arrive in `host_said`. Calls that have lately been
tiny are queued behind others as in the local pool, to a millisecond of work: what has
not begun is taken back by the host there, which sees the worker's page and its tokens.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from entangle._log import Log
from entangle._pool.batching import LOW_WATER, MOST_AT_ONCE, extend
from entangle._pool.jobs import Job, Prepared, frame
from entangle._worker import codec, frames, packets, page, plain
from entangle._worker import main as protocol
from entangle._worker.attach import received
from entangle.errors import (
    EntangleError,
    PlaceError,
    ProcessTerminatedException,
    TaskError,
    VersionMismatchError,
    WorkerStartError,
    one_line,
)

from . import bootstrap, by_source
from .handshake import Refused
from .host import PlaceHost
from .project import Project
from .stream import Ended
from .worker import FarWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from entangle._pool.pool import Pool
    from entangle._pool.worker import Key
    from entangle._seam.call import Call

    from .stream import Stream

log = Log("entangle.remote")

MOST_DEATHS = 3  # of workers that died before they entered a call's body
_MOST_FUNCTIONS = 1000
_ENDS = frozenset((frames.RESULT, frames.GRAPH, frames.FAILED, frames.PLAIN))
# What a place that is not trusted may say.
_HARMLESS = frozenset((frames.PLAIN, frames.FAILED, frames.STARTED, frames.MODULE))
_SLOW = 1.0  # seconds that a stream may take to say how it has ended


class Terms(NamedTuple):
    """What a stream executor's places are like.

    Attributes:
        label: What they are called in messages.
        places: How many there are, at most.
        calls: How many calls one runs at once; None for as many as it has processors.
        idle: Seconds after which an unused one is closed.
        trust: Whether pickles of theirs are decoded.
    """

    label: str
    places: int
    calls: int | None
    idle: float
    trust: bool


class Crew:
    """All places of one executor. Inside the monitor only, but for what says else."""

    def __init__(
        self, pool: Pool, terms: Terms, opener: Callable[[list[str]], Stream]
    ) -> None:
        self.pool = pool
        self.terms = terms
        self.closed = threading.Event()  # nothing is left
        self._hub = pool.hub
        self._printer = pool.printer
        self._opener = opener
        self._project = Project()
        self._jobs: dict[Call, Job] = {}
        self._queue: deque[Job] = deque()
        self._hosts: list[PlaceHost] = []  # also those that have not answered yet
        self._opening = 0
        self._ending = 0  # streams that are being closed, on threads
        self._numbers = 0
        self._closing = False
        self._refused = False  # whether a place could not be opened
        self._names: frozenset[str] = frozenset()
        # Functions for other versions of Python, and jobs whose arguments suit them.
        self._sources: dict[tuple[int, tuple[int, int]], bytes] = {}
        self._checked: set[Job] = set()
        self._trimming = False
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
        self._queue.append(job)

    def cancel(self, call: Call) -> None:
        """End a call; `Call.cancelled` tells how, unless its result was faster."""
        job = self._jobs.get(call)
        if job is None or job.cancelled or job.over:
            return
        job.cancelled = True
        worker: Any = job.worker
        if worker is None:
            self._over(job)
            call.cancelled("already done")
            if not any(not each.over for each in self._queue):
                self._give_up_openings()
        elif len(worker.outstanding) == 1:
            worker.kill()
        else:
            # What it says to that decides: it has begun, or not.
            worker.withdraw()
            worker.host.expect_answer()

    def forget_shared(self, numbers: set[int]) -> None:
        """Have the workers drop values that no call will need again."""
        for worker in self._workers():
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
        while queue:
            job = queue[0]
            if job.over:
                queue.popleft()
                continue
            worker = self._worker_for(job)
            if worker is not None and worker.host.differs and self._lacks(worker, job):
                continue
            if worker is not None:
                self._give(worker, self._batch(job))
            elif not self._top_up(job):
                self._open_more()
                return

    def close(self, *, now: bool) -> None:
        """End all places as soon as the calls are over; `closed` tells when.

        Args:
            now: End the calls, too.
        """
        self._closing = True
        if now:
            for job in list(self._jobs.values()):
                self._over(job)
                job.call.cancelled("killed" if job.worker else "already done")
            for host in list(self._hosts):
                self._end_host(host, kill=bool(host.busy))
        self._close_if_done()

    def descriptors(self) -> Iterator[int]:
        """Yield what a forked child of this process has to close."""
        for host in self._hosts:
            yield from host.descriptors()

    # -- places ------------------------------------------------------------------

    def _open_more(self) -> None:
        """Open another place if more would help."""
        if self._refused and self._hosts:
            return  # one more was not to be had: those that are there have to do
        coming = self._opening + sum(host.hello is None for host in self._hosts)
        room = self.terms.places - len(self._hosts) - self._opening
        for _ in range(min(room, len(self._queue) - coming)):
            self._opening += 1
            threading.Thread(
                target=self._open, name="entangle-opening", daemon=True
            ).start()

    def _open(self) -> None:
        """Open one place; on a thread of its own."""
        command, marker = bootstrap.command()
        stream: Stream | None = None
        error: BaseException | None = None
        try:
            bootstrap.payload(sys.implementation.cache_tag or "")  # ahead
            stream = self._opener(command)
        except BaseException as trouble:
            error = trouble
        self._hub.post(self._opened, stream, marker, error)
        self._hub.attend()
        if self._hub.stopped and stream is not None:
            stream.kill()

    def _opened(
        self, stream: Stream | None, marker: bytes, error: BaseException | None
    ) -> None:
        self._opening -= 1
        if stream is not None:
            try:
                host = PlaceHost(self._hub, stream, marker, self)
                host.start()
            except Exception as trouble:
                error = trouble
                self._dispose(stream.kill)
            else:
                self._hosts.append(host)
                if self._closing or not self._queue:
                    self._end_host(host, kill=True)
                return
        if error is not None:
            self._cannot_open(error)
        self._close_if_done()

    def _cannot_open(self, error: BaseException) -> None:
        """Fail what waits, unless another place will take it."""
        self._refused = True
        if self._hosts or self._opening:
            log.warning("%s: a place can't be opened: %s", self.terms.label, error)
            return
        queue, self._queue = self._queue, deque()
        for job in queue:
            if not job.over:
                self._over(job)
                job.call.failed(error)

    def _give_up_openings(self) -> None:
        """End places that have not answered yet: nobody waits for them any more."""
        for host in list(self._hosts):
            if host.hello is None:
                self._end_host(host, kill=True)

    def host_ready(self, host: PlaceHost) -> None:
        """A place takes calls."""
        self._refused = False
        self._rest(host)

    def _rest(self, host: PlaceHost) -> None:
        """Note that a place has nothing to do, and close it in a while."""
        host.idle_since = time.monotonic()
        if not self._trimming:
            self._trimming = True
            self._hub.at(host.idle_since + self.terms.idle, self._trim)

    def _trim(self) -> None:
        self._trimming = False
        now = time.monotonic()
        oldest = None
        for host in list(self._hosts):
            if host.hello is not None and not host.busy:
                if now - host.idle_since >= self.terms.idle:
                    self._end_host(host, kill=False)
                elif oldest is None or host.idle_since < oldest:
                    oldest = host.idle_since
        if oldest is not None:
            self._trimming = True
            self._hub.at(oldest + self.terms.idle, self._trim)

    def _end_host(self, host: PlaceHost, *, kill: bool) -> None:
        """End a place in good order, or at once."""
        host.stop()
        self._hosts.remove(host)
        self._dispose(host.stream.kill if kill else host.stream.close)

    def _dispose(self, end: Callable[[], None]) -> None:
        """End a stream on a thread of its own: it may take long, or raise."""
        self._ending += 1

        def dispose() -> None:
            try:
                end()
            except BaseException as error:
                log.warning("%s: it can't be ended: %s", self.terms.label, error)
            self._hub.post(self._disposed)
            self._hub.attend()
            if self._hub.stopped:
                self._disposed()

        threading.Thread(target=dispose, name="entangle-ending", daemon=True).start()

    def _disposed(self) -> None:
        self._ending -= 1
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._closing or self._jobs or self._opening:
            return
        for host in list(self._hosts):
            self._end_host(host, kill=False)
        if not self._ending:
            self.pool.crews.discard(self)
            if self._on_room in self._printer.on_room:
                self._printer.on_room.remove(self._on_room)
            self.closed.set()

    def host_ended(self, host: PlaceHost, why: BaseException | str | None) -> None:
        """A place is gone, or of no use any more: ask its stream why, then tell."""
        self._hosts.remove(host)
        lost = [job for worker in host.workers.values() for job in worker.outstanding]
        known = threading.Event()

        def tell(ended: Ended) -> None:
            if not known.is_set():
                known.set()
                self._lost(host, why, ended, lost)

        def end() -> None:
            ended = Ended()
            if why is None or isinstance(why, OSError):
                try:
                    ended = host.stream.ended()
                except BaseException as error:
                    ended = Ended(detail=one_line(error))
            self._hub.post(tell, ended)
            self._hub.attend()
            host.stream.kill()

        self._hub.at(time.monotonic() + _SLOW, partial(tell, Ended()))
        self._dispose(end)

    def _lost(
        self,
        host: PlaceHost,
        why: BaseException | str | None,
        ended: Ended,
        lost: list[Job],
    ) -> None:
        """Tell the calls of a place that is gone."""
        detail = why if isinstance(why, str) else ended.detail
        if isinstance(why, BaseException):
            detail = one_line(why)
        detail = ": ".join(filter(None, (self.terms.label, detail)))
        for job in lost:
            if job.over:
                continue
            self._over(job)
            if job.cancelled:
                job.call.cancelled("killed")
                continue
            worker: Any = job.worker
            job.call.failed(
                ProcessTerminatedException(
                    node=job.call.name,
                    pid=worker.pid,
                    signal=ended.signal,
                    exit_code=ended.exit_code,
                    out_of_memory=ended.out_of_memory,
                    detail=detail,
                )
            )
        if host.hello is None:
            self._cannot_open(self._not_answered(host, why, ended))
        self._close_if_done()

    def _not_answered(
        self, host: PlaceHost, why: BaseException | str | None, ended: Ended
    ) -> EntangleError:
        if isinstance(why, Refused):
            reason = str(why)
        elif ended.exit_code == 127:  # noqa: PLR2004 - what shells say then
            reason = "it has no python3: nothing else is needed there, but that"
        else:
            reason = "it ended before it answered"
            if ended.exit_code is not None:
                reason += f", with exit code {ended.exit_code}"
            elif ended.signal is not None:
                reason += f", by signal {ended.signal}"
            elif isinstance(why, BaseException):
                reason += f": {one_line(why)}"
        said = "\n".join(filter(None, (host.said, ended.detail)))
        return PlaceError(place=self.terms.label, reason=reason, said=said)

    # -- workers -----------------------------------------------------------------

    def _workers(self) -> Iterator[FarWorker]:
        for host in self._hosts:
            yield from host.workers.values()

    def _room(self, host: PlaceHost) -> int:
        """Return how many calls more a place takes."""
        if host.hello is None or host.over:
            return 0
        return (self.terms.calls or host.hello.cpus) - host.busy

    def _worker_for(self, job: Job) -> FarWorker | None:
        """Return a worker without work; None if none can be had now."""
        key = job.prepared.key
        best = None
        for host in list(self._hosts):
            if not host.busy and host.hello is not None:
                host.look()  # it may have ended while nobody needed it
            room = self._room(host)
            if room > 0 and (best is None or room > self._room(best)):
                best = host
        if best is None:
            return None
        idle = best.idle.get(key)
        if idle:
            worker = idle.pop()
            worker.resting = False
        else:
            worker = self._fork(best, key, job.prepared)
        best.busy += 1
        return worker

    def _fork(self, host: PlaceHost, key: Key, prepared: Prepared) -> FarWorker:
        spare = sum(map(len, host.idle.values()))
        if host.busy + spare >= (self.terms.calls or host.hello.cpus):  # type: ignore[union-attr]  # it has answered
            # One of another kind makes room.
            for workers in host.idle.values():
                if workers:
                    workers.pop(0).kill()
                    break
        self._numbers += 1
        worker = FarWorker(self._numbers, key, host, self._printer)
        host.workers[worker.number] = worker
        preload = list(key.preload)
        if prepared.shipped.by_value and not host.differs:
            preload.append("entangle._worker.byvalue")
        settings = {
            "env": key.env,
            "cwd": key.cwd,
            "nice": key.nice,
            "preload": preload,
            "names": self._names,
            "trust": self.terms.trust,
            "python": tuple(sys.version_info[:2]),
        }
        worker.names = self._names
        host.send(packets.FORK, worker.number, pickle.dumps(settings, 4))
        return worker

    # -- the way out -------------------------------------------------------------

    def _batch(self, first: Job) -> list[Job]:
        """Take the next job and, if it is tiny, others like it off the queue."""
        queue = self._queue
        queue.popleft()
        batch = [first]
        if queue and first.tiny() and not self._sources:
            room = sum(max(0, self._room(host)) for host in self._hosts)
            busy = sum(worker.tiny for worker in self._workers())
            most = min(MOST_AT_ONCE, -(-(len(queue) + 1) // (room + busy + 1)))
            extend(queue, batch, first.prepared.key, most)
        return batch

    def _top_up(self, first: Job) -> bool:
        """Queue tiny jobs behind running ones; False if no worker has room."""
        if not first.tiny() or self._sources:
            return False
        for worker in self._workers():
            room = MOST_AT_ONCE - len(worker.outstanding)
            if (
                worker.tiny
                and len(worker.outstanding) <= LOW_WATER
                and worker.key == first.prepared.key
                and not worker.killed
                and not worker.dirty
                and not worker.asked
            ):
                batch: list[Job] = []
                extend(self._queue, batch, worker.key, min(room, LOW_WATER * 3))
                if batch:
                    self._give(worker, batch)
                    return True
        return False

    def _give(self, worker: FarWorker, batch: list[Job]) -> None:
        """Send jobs, and before them what they need, to a worker."""
        behind = bool(worker.outstanding)
        first = number = worker.next_sequence(len(batch))
        provided: Prepared | None = None
        for job in batch:
            job.worker = worker  # type: ignore[assignment]  # of another pool than the local one
            job.number = number
            number += 1
            job.token = behind
            behind = True
            if job.prepared is not provided:
                provided = job.prepared
                self._provide(worker, provided)
        worker.outstanding.extend(batch)
        if not batch[0].token:
            first += 1
        if first < number:
            worker.grant(range(first, number))
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
                data = self._sources[shipped.number, worker.host.python]
            worker.send(frames.pack(frames.FUNCTION, number + data))
        if prepared.payload is not None:
            for blob in prepared.payload.shared:
                if blob.number not in worker.shared:
                    worker.shared.add(blob.number)
                    number = protocol.NUMBER.pack(blob.number)
                    buffers = codec.plain((blob.data, *blob.buffers))
                    worker.send(frames.pack(frames.SHARED, number, buffers))

    # -- other versions of Python ------------------------------------------------

    def _lacks(self, worker: FarWorker, job: Job) -> bool:
        """Put a job aside whose function is not known as source yet, or that is checked.

        Its worker rests meanwhile.
        """
        shipped, version = job.prepared.shipped, worker.host.python
        if (shipped.number, version) in self._sources and (
            job.prepared.payload is None or job in self._checked
        ):
            return False
        self._queue.popleft()
        self._settle(worker)
        self.pool.encoder.call(self._translate, job, version)
        return True

    def _translate(self, job: Job, version: tuple[int, int]) -> None:
        """Encode a call for another version of Python; not inside the monitor."""
        call, prepared = job.call, job.prepared
        try:
            data = by_source.encoded(
                call.function, prepared.shipped.data, version, self._project
            )
            if prepared.payload is not None:
                by_source.check_arguments(prepared.payload)
        except by_source.UnportableError as error:
            failure = VersionMismatchError(
                node=call.name,
                place=self.terms.label,
                version=".".join(map(str, version)),
                reason=str(error),
            )
            self._hub.post(self._untranslatable, job, failure)
        except Exception as error:
            self._hub.post(self._untranslatable, job, error)
        else:
            self._hub.post(self._translated, job, version, data)

    def _translated(self, job: Job, version: tuple[int, int], data: bytes) -> None:
        self._sources[job.prepared.shipped.number, version] = data
        if job.prepared.payload is not None:
            self._checked.add(job)
        if not job.over:
            self._queue.appendleft(job)

    def _untranslatable(self, job: Job, error: BaseException) -> None:
        if not job.over:
            self._over(job)
            job.call.failed(error)

    # -- what places say ---------------------------------------------------------

    def host_said(
        self, host: PlaceHost, kind: int, number: int, content: memoryview
    ) -> None:
        """A packet has come."""
        worker = host.workers.get(number)
        if worker is None:
            return
        try:
            if worker.broken and kind in {packets.DATA, packets.UNSENT}:
                pass  # what comes after what makes no sense makes none either
            elif kind == packets.DATA:
                for item in worker.received(content):
                    self._answered(worker, item)
                self._settle(worker)
            elif kind in {packets.STDOUT, packets.STDERR}:
                worker.printed(kind - packets.STDOUT, bytes(content))
                if not self._printer.full():
                    worker.give_credit()
            elif kind == packets.CREDIT:
                worker.credited(packets.COUNT.unpack(content)[0])
            elif kind == packets.UNSENT and self.terms.trust:
                self._values(worker, bytes(content))
                self._settle(worker)
            elif kind == packets.WITHDRAWN:
                self._withdrawn(worker, content)
            elif kind == packets.FORKED:
                worker.pid = packets.COUNT.unpack(content)[0]
            elif kind == packets.REFUSED:
                self._refused(worker, packets.COUNT.unpack(content)[0])
            elif kind == packets.DIED:
                self._died(worker, content)
            else:
                raise ValueError(f"unknown kind {kind}")
        except Exception as error:
            if not worker.broken:
                worker.broken = f"it sent what is no answer: {error!r}"
                worker.kill()

    def _answered(self, worker: FarWorker, item: frames.Frame) -> None:
        kind = item.kind
        if not self.terms.trust and kind not in _HARMLESS:
            raise ValueError(f"kind {kind}, which nobody has asked for")
        if kind == frames.VALUES:
            self._values(worker, bytes(item.body), item.flags & frames.DIRTY)
        elif kind in _ENDS:
            self._call_over(worker, item)
        elif kind == frames.STARTED:
            number, _ = protocol.ANSWER.unpack_from(item.body)
            if worker.outstanding and worker.outstanding[0].number == number:
                worker.outstanding[0].call.started()
        elif kind == frames.MODULE:
            # It reads files, and may take its time.
            self.pool.encoder.call(self._find_module, worker, bytes(item.body))
        else:
            raise ValueError(f"unknown kind {kind}")

    def _values(self, worker: FarWorker, answers: bytes, dirty: int = 0) -> None:
        """Pass on what calls have returned."""
        view, at, end = memoryview(answers), 0, len(answers)
        worker.finish_lines()
        while at < end:
            number, took, size = page.VALUE.unpack_from(answers, at)
            at += page.VALUE.size
            # Else it was read in the page before it was sent.
            if number > worker.answered:
                value = pickle.loads(view[at : at + size])
                self._let_go(worker, number, took, dirty).succeeded(value)
            at += size

    def _call_over(self, worker: FarWorker, item: frames.Frame) -> None:
        """Pass on how a call ended that is more than a plain value."""
        number, took = protocol.ANSWER.unpack_from(item.body)
        worker.finish_lines()
        call = self._let_go(worker, number, took, item.flags & frames.DIRTY)
        rest = bytes(item.body[protocol.ANSWER.size :])
        if not self.terms.trust:
            decode = partial(self._decode_plain, call, item.kind, rest)
            self.pool.notifier.call(decode)
            return
        if item.kind == frames.FAILED:
            call.failed_encoded(rest)
            return
        parcel = received(item.buffers[0], item.buffers[1:], item.marks[1:])
        if item.kind == frames.RESULT:
            call.succeeded(parcel)
        else:
            call.returned_graph(parcel)

    def _decode_plain(self, call: Call, kind: int, data: bytes) -> None:
        """Tell what a place that is not trusted has answered; not inside the monitor."""
        tell: Callable[[Any], None] = call.failed
        told: Any
        try:
            told = plain.decode(data)
            if kind == frames.PLAIN:
                tell = call.succeeded
            else:
                told = TaskError(*map(str, told))
        except (plain.NotPlainError, TypeError) as error:
            told = TaskError(type(error).__name__, f"{self.terms.label}: {error}")
            tell = call.failed
        self._hub.post(tell, told)

    def _let_go(self, worker: FarWorker, number: int, took: int, dirty: int) -> Call:
        """Let go of a call that its worker has answered."""
        job = worker.outstanding[0]
        if job.number != number:
            raise ValueError(f"answer to call {number}, expected {job.number}")
        job.prepared.shipped.took(took)
        worker.answered = number
        worker.outstanding.popleft()
        if dirty or worker.key.fresh:
            worker.dirty = True
        self._over(job)
        return job.call

    def _settle(self, worker: FarWorker) -> None:
        """Let a worker rest that has nothing left to do."""
        if worker.outstanding or worker.killed or worker.resting:
            return
        host = worker.host
        worker.resting = True
        host.busy -= 1
        if worker.dirty:
            worker.kill()
        else:
            host.idle.setdefault(worker.key, []).append(worker)
        if not host.busy:
            self._rest(host)

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
                self._over(job)
                job.call.cancelled("already done")
            elif not job.over:
                self._queue.appendleft(job)

    def _refused(self, worker: FarWorker, code: int) -> None:
        """A worker could not be forked."""
        jobs = list(worker.outstanding)
        self._bury(worker)
        for job in jobs:
            if not job.over:
                self._over(job)
                job.call.failed(
                    WorkerStartError(f"{self.terms.label}: {os.strerror(code)}")
                )

    def _died(self, worker: FarWorker, content: memoryview) -> None:
        """Settle what a dead worker was given."""
        status, entered = packets.FATE.unpack_from(content)
        unsent = bytes(content[packets.FATE.size :])
        if unsent and not worker.broken and self.terms.trust:
            try:
                self._values(worker, unsent)
            except Exception as error:
                worker.broken = f"it left what is no answer: {error!r}"
        worker.finish_lines()
        again: list[Job] = []
        jobs = list(worker.outstanding)
        self._bury(worker)
        for job in jobs:
            if job.over:
                continue
            if job.cancelled:
                self._over(job)
                job.call.cancelled("killed")
            elif job.number > entered and job.deaths < MOST_DEATHS:
                job.deaths += bool(worker.broken) or not worker.killed
                again.append(job)
            else:
                self._over(job)
                job.call.failed(self._death(job, worker, status))
        self._put_back(again)
        self._close_if_done()

    def _death(self, job: Job, worker: FarWorker, status: int) -> EntangleError:
        code = os.waitstatus_to_exitcode(status)
        detail = worker.broken
        if code == protocol.BROKEN_STREAM and not detail:
            detail = "it lost its connection to its host: a task closed or damaged it"
        detail = ": ".join(filter(None, (self.terms.label, detail)))
        return ProcessTerminatedException(
            node=job.call.name,
            pid=worker.pid,
            signal=-code if code < 0 and not worker.broken else None,
            exit_code=code if code >= 0 else None,
            detail=detail,
        )

    def _bury(self, worker: FarWorker) -> None:
        """Forget a worker that is gone."""
        host = worker.host
        host.workers.pop(worker.number, None)
        worker.outstanding.clear()
        worker.killed = True
        if worker.resting:
            idle = host.idle.get(worker.key, [])
            if worker in idle:
                idle.remove(worker)
        else:
            worker.resting = True
            host.busy -= 1
            if not host.busy:
                self._rest(host)

    def _over(self, job: Job) -> None:
        job.over = True
        self._checked.discard(job)
        self._jobs.pop(job.call, None)
        if self._closing and not self._jobs:
            self._hub.post(self._close_if_done)

    def _on_room(self) -> None:
        self._hub.post(self._credit_all)

    def _credit_all(self) -> None:
        for worker in self._workers():
            worker.give_credit()

    # -- modules -----------------------------------------------------------------

    def _find_module(self, worker: FarWorker, request: bytes) -> None:
        """Look for one of the caller's own modules; not inside the monitor."""
        number, _, name = request.partition(b" ")
        answer = self._project.entry(
            name.decode(errors="replace"), loaded=not self.terms.trust
        )
        body = pickle.dumps((int(number), answer), 4)
        self._hub.post(self._send_module, worker, body)

    def _send_module(self, worker: FarWorker, body: bytes) -> None:
        if not worker.killed:
            worker.send(frames.pack(frames.SOURCE, body))
