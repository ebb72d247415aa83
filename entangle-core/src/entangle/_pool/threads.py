"""The thread pool: calls that share the caller's objects."""

from __future__ import annotations

import _thread
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from entangle._log import Log
from entangle.errors import WorkerStartError

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log("entangle.pool")

MOST = 32
_LINGER = 10.0


class Threads:
    """Up to 32 daemon threads, plus one for each that waits in a nested run.

    Thread-safe. Work given by one of the threads while it has nothing left of its own
    is done by that very thread: a chain of calls needs no hop.
    """

    def __init__(self, most: int = MOST, linger: float = _LINGER) -> None:
        self._most = most
        self._linger = linger
        self._lock = threading.Lock()
        self._queue: deque[Callable[[], None]] = deque()
        self._parked: list[Any] = []
        self._count = 0
        self._blocked = 0
        self._names = 0
        self._closed = False
        self._local = threading.local()

    def run(self, work: Callable[[], None]) -> None:
        """Have ``work()`` run on a thread of the pool; what it raises is logged.

        Raises:
            RuntimeError: the system has no thread to give, not even one.
        """
        local = self._local
        if getattr(local, "spare", False):
            # This thread is about to look for work: leave it here.
            local.spare = False
            local.next = work
            return
        with self._lock:
            self._queue.append(work)
            try:
                self._wake()
            except RuntimeError:
                if self._count == self._blocked:
                    self._queue.remove(work)
                    raise

    def _wake(self) -> None:
        if self._parked:
            self._parked.pop().release()
        elif self._count - self._blocked < self._most:
            self._start()

    def _start(self) -> None:
        self._names += 1
        name = f"entangle-thread-{self._names}"
        try:
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        except RuntimeError as error:
            if self._count > self._blocked:
                return  # another one will take the work
            self._queue.clear()
            detail = f"no thread can be started: {error}"
            raise WorkerStartError(detail=detail) from error
        self._count += 1

    def blocked(self) -> bool:
        """The calling thread begins to wait for a nested run; False if not ours."""
        local = self._local
        if not getattr(local, "ours", False):
            return False
        # It is not about to look for work after all.
        local.spare = False
        left, local.next = local.next, None
        with self._lock:
            if left is not None:
                self._queue.append(left)
            self._blocked += 1
            if self._queue:
                try:
                    self._wake()
                except RuntimeError:
                    self._blocked -= 1
                    raise
        return True

    def resumed(self) -> None:
        """The calling thread's nested run is over."""
        with self._lock:
            self._blocked -= 1

    def close(self) -> None:
        """Let idle threads end, and busy ones when their call is over."""
        with self._lock:
            self._closed = True
            parked, self._parked = self._parked, []
        for lock in parked:
            lock.release()

    def _serve(self) -> None:
        local = self._local
        local.ours = True
        local.spare = False
        local.next = None
        bell = _thread.allocate_lock()
        bell.acquire()
        queue = self._queue
        while True:
            try:
                work = queue.popleft()
            except IndexError:
                if not self._park(bell):
                    return
                continue
            while work is not None:
                # From the report of the call's end on, what it makes ready is ours.
                try:
                    work()
                except BaseException:
                    # Of a user's callback: no reason to lose the thread.
                    log.exception("a callback failed")
                local.spare = False
                work, local.next = local.next, None

    def _park(self, bell: Any) -> bool:
        """Wait for work; False when the thread should end."""
        with self._lock:
            if self._queue:
                return True
            if self._closed or self._count - self._blocked > self._most:
                self._count -= 1
                return False
            self._parked.append(bell)
        if bell.acquire(timeout=self._linger):
            return True
        with self._lock:
            if bell in self._parked:
                self._parked.remove(bell)
                self._count -= 1
                return False
        bell.acquire()  # rung in the meantime
        return True

    def about_to_report(self) -> None:
        """The calling thread has finished its call: it may take the next itself."""
        if getattr(self._local, "ours", False):
            self._local.spare = True
