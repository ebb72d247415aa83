"""The one pool of this process: made at the first run, closed at exit."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import sys
import threading
from functools import partial
from queue import Empty
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from entangle._graph import supplied
from entangle._graph.scheduling import make_scheduler
from entangle._worker import failures, pieces, processors, references
from entangle._worker import main as worker
from entangle.errors import (
    NestedRunError,
    PlatformError,
    RunOutsideTaskError,
    TaskError,
)

from . import cpus
from .hosted import Hosted
from .hub import DEAFNESS, Hub
from .limits import Limits
from .output import Printer
from .processes import Processes
from .rates import Rates
from .scheduling import Group
from .segments import HERE, Segments
from .serial import Serial
from .shipping import Shipper
from .snapshot import Snapshots
from .threads import Threads
from .zygotes import STANDARD_PRELOAD

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable
    from concurrent.futures import Future

    from entangle._graph.options import SchedulerOptions

    from .segments import Segment

IDLE = "ENTANGLE_IDLE"
_ENDING = 3.0  # seconds that runs have to end at a shutdown; the engine is faster
_SETTLING = 5.0  # seconds that callbacks of futures have at exit
_IDLE_SECONDS = 10.0


class Pool:
    """Everything that the runs of one process share. Thread-safe.

    Owns the hub, the worker processes, the threads and the notifier.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        # These may raise: before anything is open.
        self.capacity = cpus.workers()
        idle = _idle_seconds()
        self.hub = Hub()
        self.inline = False
        self.notifier = Serial("notifier")
        self.encoder = Serial("encoder")
        self.printer = Printer()
        self.shipper = Shipper()
        self.snapshots = Snapshots()
        self.threads = Threads()
        self.limits = Limits()
        self.rates = Rates(self.hub)
        self.hosted = Hosted(self.hub, idle)
        self.idle = idle
        self.crews: set[Any] = set()  # places elsewhere, of stream executors
        self.runs: set[Any] = set()  # those that have begun and are not over
        self.unsettled: set[Any] = set()  # runs whose futures are not resolved yet
        self.closed = False
        self._closing = False
        self._expecting = False
        self._groups: dict[Hashable, Group] = {}
        self._serials: dict[str, Serial] = {}
        self._lock = threading.Lock()
        self.relayed = worker.current is not None
        self.processes: Any
        # Numbers of values that are sent ahead to workers; not from inside of one.
        self.shared_number = (
            itertools.count(1).__next__ if worker.current is None else None
        )
        if worker.current is None:
            self.segments = Segments(self._segment_closed, self._segment_idle)
            self._trimming = False
            pieces.outlived[0] = True
            pieces.Source.ask = self._ask
            pieces.Source.failed = self.segments.refused
            pieces.on_release[:] = [partial(self.hub.post, self.segments.collect)]
            self.processes = Processes(
                self.hub,
                self.printer,
                self.shipper,
                self.limits,
                self.capacity,
                idle,
                self.segments,
            )
            from .nested import NestedCalls

            self.processes.nested = NestedCalls(
                self.processes, self.shipper, self.group
            )
        else:
            from .relay import Relay

            self.processes = Relay(self.hub, worker.current)
        self.hub.on_batch = self._batch
        failures.task_error = TaskError

    def _batch(self) -> None:
        self.processes.pump()
        for crew in tuple(self.crews):
            crew.pump()
        self.hub.near = self.processes.lone()
        if self.printer.pending():
            self.notifier.call(self.printer.flush)

    # -- shared memory -----------------------------------------------------------

    def _ask(self, nbytes: int) -> Any:
        """Have shared memory to write to, in this process; on any thread."""
        from entangle._worker.memory import Grant

        found = self.segments.grant(HERE, nbytes)
        return None if found is None else Grant(*found)

    def _segment_idle(self) -> None:
        """Give memory back in a while; on any thread."""
        if not self._trimming:
            self.hub.post(self._trim_later, monotonic() + self.idle)

    def _trim_later(self, moment: float) -> None:
        if not self._trimming:
            self._trimming = True
            self.hub.at(moment, self._trim)

    def _trim(self) -> None:
        self._trimming = False
        since = self.segments.trim(monotonic() - self.idle)
        if since is not None:
            self._trim_later(since + self.idle)

    def _segment_closed(self, segment: Segment) -> None:
        """Have a segment let go of everywhere; on any thread."""
        self.hub.post(self.processes.unmap, segment.key)
        self.encoder.call(_close_segment, segment)

    # -- runs --------------------------------------------------------------------

    def expect_processes(self, module: str) -> None:
        """Begin to start what the first process call will need.

        Args:
            module: The module of its function.
        """
        if not self._expecting:
            self._expecting = True
            # By value, it needs at once what is else imported at leisure.
            by_value = module in references.PROGRAMS
            self.hub.post(self.processes.expect, STANDARD_PRELOAD, by_value)

    def admit(self, run: Any) -> None:
        """Take charge of a run that is about to begin.

        Raises:
            concurrent.futures.CancelledError: the pool was shut down meanwhile.
        """
        # Without a lock, which a finalizer that runs a graph could meet: either
        # `close` sees the run or this sees that it closes.
        self.runs.add(run)
        if self._closing:
            self.runs.discard(run)
            from concurrent.futures import CancelledError

            raise CancelledError(
                "shutdown() was called while this run was about to begin; run it again "
                "to have it in a new pool"
            )

    def start(self, run: Any, *, more: bool = False) -> None:
        """Begin an admitted run that no thread waits for yet."""
        self.hub.post(partial(run.begin, more=more))
        self.hub.attend()

    def drive(self, run: Any) -> None:
        """Begin an admitted run and wait for its end, polling where nobody does.

        Raises:
            KeyboardInterrupt: in the main thread, at once; the run goes on.
        """
        # As `waiting` does it, which costs more than everything in it.
        ours = self.threads.blocked()
        lease = self.processes.blocked(begins=True)
        try:
            self.hub.drive(run, run.begin)
        finally:
            self.processes.resumed(lease)
            if ours:
                self.threads.resumed()

    @contextlib.contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Give back, for a time, what the calling thread needs to run a task."""
        ours = self.threads.blocked()
        lease = self.processes.blocked()
        try:
            yield
        finally:
            self.processes.resumed(lease)
            if ours:
                self.threads.resumed()

    def until_done(self, future: Future[Any]) -> None:
        """Do without a processor until a future is done, on behalf of a coroutine."""
        lease = self.processes.blocked()
        future.add_done_callback(lambda _: self.processes.resumed(lease))

    def finish(self, run: Any) -> None:
        """Wait for the end of a run that was cancelled or needs no thread of ours.

        Returns at once where waiting would be for oneself (see `Hub.may_wait`).
        """
        if self.hub.may_wait():
            self.hub.attend()
            run.wait()

    def next_landed(self, landed: Any, timeout: float | None) -> Any:
        """Wait for what a run has delivered.

        Raises:
            queue.Empty: nothing came in time.
        """
        deadline = float("inf") if timeout is None else monotonic() + timeout
        with self.waiting():
            while True:
                left = deadline - monotonic()
                try:
                    return landed.get(timeout=max(0.0, min(left, DEAFNESS)))
                except Empty:
                    if left <= DEAFNESS:
                        raise

    def forget_shared(self, numbers: set[int]) -> None:
        """Have all workers drop values that no call will need again; in the monitor."""
        for workers in (self.processes, *self.crews):
            workers.forget_shared(numbers)

    def group(self, options: SchedulerOptions) -> Group:
        """Return the processors shared by all tasks of one ``@scheduler``.

        Raises:
            CompositionError: a dotted path that leads to no scheduler.
            Exception: what making a scheduler of the user's raises.
        """
        with self._lock:
            group = self._groups.get(options)
            if group is None:
                ids = processors.allowed()[: options.cpus]
                chooser = make_scheduler(options, ids)
                serial = Serial("scheduler")
                self._serials[f"scheduler {options}"] = serial
                group = Group(ids, chooser, self.hub.post, serial)
                self._groups[options] = group
            return group

    def serial(self, name: str) -> Serial:
        """Return the thread that calls into one executor of somebody else's."""
        with self._lock:
            if name not in self._serials:
                self._serials[name] = Serial(name)
            return self._serials[name]

    def close(self) -> None:
        """End all runs and everything that the pool owns. Idempotent."""
        if self._closing:
            return
        self._closing = True
        runs = list(self.runs)
        for run in runs:
            self.hub.post(run.cancel)
        deadline = monotonic() + _ENDING
        try:
            for run in runs:
                run.wait(max(0.0, deadline - monotonic()))
        except BaseException:  # Ctrl-C
            self.hosted.give_up()
            raise
        self.closed = True
        self.hosted.close()
        self._close_crews()
        self.threads.close()
        supplied.close_all()
        self.hub.stop()
        self.processes.close()
        self.hub.abandon()
        for serial in [*self._serials.values(), self.encoder, self.notifier]:
            serial.close()
        if not self.relayed:
            pieces.Source.clear()
            pieces.on_release.clear()
            memory = sys.modules.get("entangle._worker.memory")
            if memory is not None and hasattr(memory, "seal"):
                memory.close()
            self.segments.close()
        self.printer.flush()

    def _close_crews(self) -> None:
        """End all calls elsewhere, and wait for the end of their places."""
        crews = list(self.crews)
        for crew in crews:
            self.hub.post(partial(crew.close, now=True))
        self.hub.attend()
        deadline = monotonic() + _ENDING
        for crew in crews:
            crew.closed.wait(max(0.0, deadline - monotonic()))

    def abandon(self) -> None:
        """Let go of everything without touching it: for a forked child."""
        self.closed = True
        descriptors = list(self.processes.descriptors())
        _replace([each for crew in self.crews for each in crew.descriptors()])
        if not self.relayed:
            descriptors += self.segments.descriptors()
            self.segments.abandon()
        self.hub.abandon(forked=True)
        for descriptor in descriptors:
            try:
                os.close(descriptor)
            except OSError:
                pass


def _replace(descriptors: list[int]) -> None:
    """Put nothing in the place of what streams of third parties own here.

    They would close again, later, whatever has these numbers by then.
    """
    if descriptors:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)


def _idle_seconds() -> float:
    text = os.environ.get(IDLE)
    if not text:
        return _IDLE_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(
            f"{IDLE}={text!r} is no number of seconds: set it to how long unused "
            "workers are kept, or unset it"
        )
    return seconds


def _close_segment(segment: Segment) -> None:
    memory = sys.modules.get("entangle._worker.memory")
    if memory is not None and hasattr(memory, "seal"):
        memory.forget([segment.key])
    segment.close()


class _Process:
    """What this process has of pools; a forked child starts over."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pool: Pool | None = None


_ours = _Process()


def get() -> Pool:
    """Return the pool of this process; made anew after a fork or a shutdown.

    Raises:
        RunOutsideTaskError: in a worker process that runs no task just now.
        NestedRunError: in a worker process on the far side of a stream.
        PlatformError: not on Linux.
        ValueError: an environment variable of ours that makes no sense.
    """
    if worker.current is not None and not worker.current.running:
        raise RunOutsideTaskError
    if worker.current is not None and worker.current.modules is not None:
        raise NestedRunError
    pool = existing()
    if pool is not None:
        return pool
    with _ours.lock:
        if _ours.pool is None or _ours.pool.closed:
            _require_linux()
            _ours.pool = Pool()
            _register_once()
        return _ours.pool


def existing() -> Pool | None:
    """Return the pool of this process if there is one."""
    pool = _ours.pool
    return pool if pool is not None and not pool.closed else None


def shutdown() -> None:
    """End all runs, workers and threads of the pool; the next run makes a new one.

    Raises:
        RuntimeError: the calling code was called by the pool itself.
    """
    pool = _ours.pool
    if pool is not None and not pool.hub.may_wait():
        raise RuntimeError(
            "shutdown() can't be called here: this code was called, as a finalizer is, "
            "while its thread was driving runs; start a thread for it"
        )
    with _ours.lock:
        pool, _ours.pool = _ours.pool, None
    if pool is not None:
        pool.close()


def _require_linux() -> None:
    if not hasattr(os, "pidfd_open") or not hasattr(os, "eventfd"):
        raise PlatformError(platform=sys.platform)


@functools.cache
def _register_once() -> None:
    os.register_at_fork(before=pieces.forked, after_in_child=_in_forked_child)
    # While new threads can still be started, which some versions refuse at exit.
    with contextlib.suppress(AttributeError, RuntimeError):
        getattr(threading, "_register_atexit")(_await_submitted)  # noqa: B009
    atexit.register(_at_exit)


def _in_forked_child() -> None:
    pool = _ours.pool
    pieces.Source.clear()
    memory = sys.modules.get("entangle._worker.memory")
    if memory is not None and hasattr(memory, "seal"):
        memory.start_over()
    _ours.__init__()  # type: ignore[misc]  # the lock may have been held at the fork
    if pool is not None:
        pool.abandon()


def _await_submitted() -> None:
    """See submitted runs to their end at a normal exit, not after an uncaught error."""
    pool = existing()
    if pool is not None and getattr(sys, "last_type", None) is None:
        for run in list(pool.unsettled):
            pool.finish(run)
        # The future is resolved, and its callbacks are called, on another thread.
        deadline = monotonic() + _SETTLING
        while pool.unsettled and monotonic() < deadline:
            sleep(0.002)


def _at_exit() -> None:
    try:
        _await_submitted()
    finally:
        shutdown()
