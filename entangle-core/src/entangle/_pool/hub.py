"""The monitor of all shared state, with the one loop that waits for the world.

Data flow: whoever has news (a thread that finished a call, a caller that starts a
run, the loop that read a worker's stream) posts a function to the inbox. If the
monitor is free the poster enters it and works the inbox off, else its present owner
does so before it leaves: nobody ever waits for the monitor, and between a result and
the dispatch of its consumer there is no hop through another thread.

One thread at a time is the *poller*: it waits in epoll for descriptors and timers.
A thread that waits for a run polls itself where nobody does; otherwise, and for runs
that nobody waits for, the background thread polls. No user code runs inside the
monitor, nor on behalf of it.
"""

from __future__ import annotations

import _thread
import contextlib
import heapq
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from entangle._log import Log

from .signals import InterruptGuard

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

log = Log("entangle.pool")

_EVENTS_AT_ONCE = 64
_LONGEST_WAIT = 3600.0
_BREATH = 0.001  # seconds
# A signal that strikes between Python's last look and a system call doesn't interrupt
# that call: so long may the main thread be deaf to it.
DEAFNESS = 0.1
# Seconds for which a near answer may keep all other descriptors from being looked at.
_NEAR = 0.01
_NEVER = float("inf")
_MOST_CANCELLED = 64


class Timer:
    """One entry of the hub's agenda. Cancelling is free and may come late."""

    __slots__ = ("_hub", "action")

    def __init__(self, hub: Hub, action: Callable[[], None]) -> None:
        self._hub = hub
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget the action; inside the monitor only."""
        if self.action is not None:
            self.action = None
            self._hub.timer_cancelled()


def _nothing() -> None:
    pass


class Awaited(Protocol):
    """What a thread waits for: a run."""

    finished: bool

    def wait(self, timeout: float | None = None) -> bool:
        """Block in C until finished, or for some seconds."""
        ...


class Near(Protocol):
    """Somebody whose answer is due any moment, and from whom alone news is expected."""

    socket: socket

    def peek(self) -> bool:
        """Wait a few milliseconds; tell whether something has come."""
        ...


class Hub:
    """Monitor, inbox, agenda and poller of one process. Thread-safe.

    Owns: two epolls, two event descriptors, and at most one background thread.
    """

    def __init__(self) -> None:
        self._monitor = _thread.allocate_lock()
        self._owner = 0
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        # Tuples, so that the heap's comparisons need no Python code: other threads
        # look at the first entry without the monitor.
        self._agenda: list[tuple[float, int, Timer]] = []
        self._timers = 0
        self._cancelled = 0
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._epoll = select.epoll()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._event, select.EPOLLIN)
        self._polling = _thread.allocate_lock()
        self._poller = 0
        self._polling_until = 0.0
        self._woken = False
        self._main = threading.main_thread().ident
        self._guard: InterruptGuard | None = None
        self._background: threading.Thread | None = None
        # What the background thread waits for while nothing is under way: its bell,
        # and what must not wait for the next run.
        self._quiet = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._quiet.register(self._bell, select.EPOLLIN)
        self._always: set[int] = set()
        self._closed = False
        self.stopped = False  # whether nothing that is posted is run any more
        self._active = 0
        self._asleep_until = _NEVER
        self._starting = _thread.allocate_lock()
        # From whom alone news is expected, any moment.
        self.near: Near | None = None
        self._polled = 0.0  # when all descriptors were looked at last
        self.on_batch: Callable[[], None] | None = None

    # -- posting -----------------------------------------------------------------

    def post(self, action: Callable[..., None], *args: Any) -> None:
        """Have ``action(*args)`` run inside the monitor, soon. Never blocks."""
        self._inbox.append((action, args))
        thread = _thread.get_ident()
        if thread == self._owner:
            return  # it works off the inbox before it leaves the monitor
        if thread == self._main and self._guard is None:
            # A signal handler could raise in the middle of a state change here.
            self._summon()
            return
        self._advance()

    def stir(self) -> None:
        """Have `on_batch` called soon: there is something that it looks after."""
        if _thread.get_ident() != self._owner:
            self.post(_nothing)

    def may_wait(self) -> bool:
        """Tell whether the calling thread may wait for a run.

        Not so for one that drives runs itself: a finalizer may be called there.
        """
        return _thread.get_ident() not in {self._owner, self._poller}

    def run_inside(self, action: Callable[[], None]) -> None:
        """Run ``action()`` inside the monitor and return when it has been.

        Not from inside the monitor, and not from the main thread of a process whose
        signal handlers may raise.
        """
        with self._monitor:
            self._owner = _thread.get_ident()
            try:
                action()
            finally:
                self._owner = 0
        self._advance()

    def _advance(self) -> None:
        """Work the inbox off, unless another thread is about to."""
        monitor, inbox = self._monitor, self._inbox
        while inbox and monitor.acquire(False):
            self._owner = _thread.get_ident()
            try:
                self._work()
            finally:
                self._owner = 0
                monitor.release()
        if self._woken or self._next_time() < self._polling_until:
            self._woken = False
            self._ring()

    def _work(self) -> None:
        """Run what is in the inbox, and what that posts. Inside the monitor only."""
        inbox = self._inbox
        if self.stopped:
            # What comes now would meet descriptors that are closed, or others' by now.
            inbox.clear()
            return
        while True:
            while inbox:
                action, args = inbox.popleft()
                try:
                    action(*args)
                except Exception:
                    log.exception("an action of the pool failed: please report this")
            if self.on_batch is not None:
                self.on_batch()
            if not inbox:
                return

    def wake_poller(self) -> None:
        """Have the poller look around once more, e.g. since its run has finished."""
        self._woken = True

    def _ring(self) -> None:
        _write(self._event)

    def _summon(self) -> None:
        """Make sure that some other thread works the inbox off."""
        if self._polling.locked():
            self._ring()
        self.attend()

    # -- agenda ------------------------------------------------------------------

    def at(self, moment: float, action: Callable[[], None]) -> Timer:
        """Have ``action`` run inside the monitor at a time of `time.monotonic`.

        Inside the monitor only.
        """
        timer = Timer(self, action)
        self._timers += 1
        heapq.heappush(self._agenda, (moment, self._timers, timer))
        return timer

    def timer_cancelled(self) -> None:
        """Take note of a dead entry; clear them out when they are the most."""
        self._cancelled += 1
        if self._cancelled > _MOST_CANCELLED and self._cancelled * 2 > len(
            self._agenda
        ):
            alive = [entry for entry in self._agenda if entry[2].action is not None]
            heapq.heapify(alive)
            self._agenda = alive
            self._cancelled = 0

    def _next_time(self) -> float:
        try:
            return self._agenda[0][0]
        except IndexError:
            return _NEVER

    def _run_timers(self) -> None:
        now = time.monotonic()
        agenda = self._agenda
        while agenda and (agenda[0][0] <= now or agenda[0][2].action is None):
            action = heapq.heappop(agenda)[2].action
            if action is not None:
                self._inbox.append((action, ()))

    # -- descriptors -------------------------------------------------------------

    def watch(
        self,
        descriptor: int,
        handler: Callable[[int], None],
        mask: int = select.EPOLLIN,
    ) -> None:
        """Call ``handler(events)`` inside the monitor while a descriptor is ready."""
        if descriptor in self._handlers:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        self._handlers[descriptor] = handler

    def watch_always(self, descriptor: int, handler: Callable[[int], None]) -> None:
        """Do as `watch`, and notice it also while nothing is under way."""
        self.watch(descriptor, handler)
        self._always.add(descriptor)
        self._quiet.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching; before the descriptor is closed."""
        if descriptor in self._always:
            self._always.discard(descriptor)
            with contextlib.suppress(OSError):  # as below
                self._quiet.unregister(descriptor)
        if self._handlers.pop(descriptor, None) is not None:
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closed by the program behind our back

    # -- polling -----------------------------------------------------------------

    def drive(self, awaited: Awaited, begin: Callable[[], None]) -> None:
        """Post ``begin`` and wait until a run that it starts is finished.

        The calling thread polls meanwhile where it can. Ctrl-C in the main thread
        raises KeyboardInterrupt at once; the run is the caller's to cancel.

        Raises:
            KeyboardInterrupt: in the main thread.
            RuntimeError: the calling code was called by the hub itself.
        """
        thread = _thread.get_ident()
        if not self.may_wait():
            raise RuntimeError(
                "a graph can't be run here: this code was called, as a finalizer or a "
                "signal handler is, while its thread was driving other runs; start a "
                "thread for it, or submit it"
            )
        if thread != self._main:
            self.post(begin)
            self.lead(awaited, None)
        else:
            with InterruptGuard(self._ring) as guard:
                if guard.safe:
                    self._guard = guard
                    try:
                        self.post(begin)
                        self.lead(awaited, guard)
                    finally:
                        self._guard = None
                else:
                    self.post(begin)
        while not awaited.finished:
            awaited.wait(DEAFNESS if thread == self._main else None)

    def lead(self, awaited: Awaited, guard: InterruptGuard | None) -> None:
        """Poll until something is finished, if no other thread polls already.

        Returns when it is finished, the guard has noted an interrupt, or another
        thread is the poller.
        """

        def wanted() -> bool:
            return not awaited.finished and (guard is None or not guard.noted)

        longest = _LONGEST_WAIT if guard is None else DEAFNESS
        while wanted() and self._poll_while(wanted, longest):
            self._advance()
        if self._active or self._next_time() < self._asleep_until:
            try:
                self.attend()
            except RuntimeError:
                # No thread can be started. What is left to do waits for a next run.
                log.debug("nobody attends to the pool", exc_info=True)

    def _poll_while(
        self, wanted: Callable[[], bool], longest: float = _LONGEST_WAIT
    ) -> bool:
        """Be the poller while something is wanted; False if another thread is."""
        if not self._polling.acquire(False):
            return False
        self._poller = _thread.get_ident()
        try:
            while wanted():
                self._poll_once(longest)
        finally:
            self._poller = 0
            self._polling.release()
        return True

    def _poll_once(self, longest: float) -> None:
        # From here on whoever adds an earlier timer rings.
        self._polling_until = _NEVER
        now = time.monotonic()
        until = min(self._next_time(), now + longest)
        self._polling_until = until
        if self._inbox:
            until = now
        # In the main thread alone: what it posts itself needs another one's attention.
        near = self.near if _thread.get_ident() == self._main else None
        if (
            near is not None
            and until - now > _NEAR
            and now - self._polled < _NEAR
            and near.peek()
        ):
            ready = [(near.socket.fileno(), select.EPOLLIN)]
        else:
            ready = self._epoll.poll(max(0.0, until - now), _EVENTS_AT_ONCE)
            self._polled = time.monotonic()
        self._polling_until = 0.0
        with self._monitor:
            self._owner = _thread.get_ident()
            try:
                handlers = self._handlers
                for descriptor, mask in ready:
                    if descriptor == self._event:
                        _read(self._event)
                        continue
                    handler = handlers.get(descriptor)
                    if handler is not None:
                        try:
                            handler(mask)
                        except Exception:
                            log.exception("a stream's handler failed: please report")
                self._run_timers()
                self._work()
            finally:
                self._owner = 0
            self._woken = False
        if self._inbox:
            self._advance()

    # -- the background thread ---------------------------------------------------

    def active(self, change: int) -> None:
        """Count runs that have begun and not finished; inside the monitor only."""
        self._active += change

    def attend(self) -> None:
        """Make sure that the background thread looks after what nobody polls for."""
        if self._closed:
            return
        with self._starting:
            if self._background is None:
                thread = threading.Thread(
                    target=self._attend, name="entangle-loop", daemon=True
                )
                thread.start()
                self._background = thread
                return
        _write(self._bell)

    def _attend(self) -> None:
        """Poll while there are runs that nobody polls for, and when a timer is due."""

        def wanted() -> bool:
            due = self._next_time() <= time.monotonic()
            return not self._closed and bool(self._active or self._inbox or due)

        while not self._closed:
            if wanted() and self._poll_while(wanted):
                continue
            # While another thread polls that one looks after the timers.
            self._asleep_until = _NEVER
            if not self._polling.locked():
                self._asleep_until = self._next_time()
            pause = min(self._asleep_until - time.monotonic(), _LONGEST_WAIT)
            self._rest(max(pause, 0.0))

    def _rest(self, seconds: float) -> None:
        """Wait for the bell, or for what is watched always."""
        try:
            heard = self._quiet.poll(seconds)
        except (OSError, ValueError):
            return  # closed by a shutdown
        for descriptor, _ in heard:
            if descriptor == self._bell:
                _read(self._bell)
                continue
            once = iter((True, False))
            if not self._poll_while(once.__next__, 0.0):
                # Whoever polls has heard of it, too.
                time.sleep(_BREATH)

    # -- end ---------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the background thread and wait until nobody polls. Idempotent.

        Nothing that is posted from now on is run.
        """
        if self._closed:
            return
        self._closed = True
        thread = self._background
        _write(self._bell)
        self._ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._polling, self._monitor:
            self._owner = _thread.get_ident()
            try:
                self._work()
            finally:
                self._owner = 0
            self.stopped = True

    def abandon(self) -> None:
        """Close the descriptors; in a forked child, where no thread of ours exists."""
        self._closed = True
        events = self._event, self._bell
        # Not twice: their numbers may be somebody else's by then.
        self._event = self._bell = -1
        for event in events:
            if event >= 0:
                with contextlib.suppress(OSError):
                    os.close(event)
        self._epoll.close()
        self._quiet.close()


def _write(event: int) -> None:
    try:
        os.eventfd_write(event, 1)
    except (OSError, ValueError):
        pass  # closed under our feet, by a fork or by shutdown


def _read(event: int) -> None:
    try:
        os.eventfd_read(event)
    except (OSError, ValueError):
        pass
