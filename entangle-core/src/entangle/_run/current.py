"""Which call the running code belongs to, so that what it starts ends with it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from entangle._graph.options import Options
from entangle._worker import main as worker

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator
    from concurrent.futures import Future

    from entangle._pool.limits import Slot

    from .run import Run
    from .spans import Seen

NO_OPTIONS = Options()
MOST_WAITING = 0.25  # seconds that an abandoned call's end waits for that of its runs


# One for all scopes: nothing slow is done under it.
_lock = threading.Lock()


def _in_forked_child() -> None:
    global _lock  # noqa: PLW0603 - it may have been held at the fork
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_forked_child)


class Scope:
    """The runs that one call has started. Thread-safe.

    Attributes:
        slot: What the call takes of its task's limit, None without one.
        seen: What the call is known by to those who observe its run, if somebody does.
        rank: That of the call; none is that of a worker's, for whom the caller knows it.
    """

    __slots__ = (
        "_awaited",
        "_ended",
        "_runs",
        "_then",
        "rank",
        "seen",
        "slot",
    )

    def __init__(self, slot: Slot | None = None) -> None:
        self.slot = slot
        self.seen: Seen | None = None
        self.rank: tuple[int, int] = 0, 0
        # Made when they are needed: every call in a thread has a scope, few start runs.
        self._runs: weakref.WeakSet[Run] | None = None
        self._ended = False
        self._awaited: set[Run] | None = None
        self._then: Callable[[], None] | None = None

    def adopt(self, run: Run) -> None:
        """Take charge of a new run; one that comes too late is cancelled at once."""
        with _lock:
            if self._runs is None:
                self._runs = weakref.WeakSet()
            self._runs.add(run)
            ended = self._ended
        if ended:
            run.hub.post(run.orphaned)

    def release(self, run: Run) -> None:
        """A run is over."""
        then = None
        with _lock:
            if self._runs is not None:
                self._runs.discard(run)
            if self._awaited is not None:
                self._awaited.discard(run)
                if not self._awaited:
                    then, self._then = self._then, None
        if then is not None:
            then()

    def end(
        self, keep: Container[Any] = (), then: Callable[[], None] | None = None
    ) -> None:
        """The call is over: cancel what still runs.

        Args:
            keep: Runs that the call has returned: they go on.
            then: Called when all that could be ended of the others has been, at the
                latest after a quarter of a second; where it is given, inside the
                monitor only.
        """
        runs: list[Run] = []
        with _lock:
            self._ended = True
            if self._runs is not None:
                runs = [run for run in self._runs if run not in keep]
            if then is not None and runs:
                self._awaited = {run for run in runs if run.under_way}
                if self._awaited:
                    self._then, then = then, None
                    hub = next(iter(self._awaited)).hub
                    # A coroutine, say, may refuse to end.
                    hub.at(time.monotonic() + MOST_WAITING, self._anyway)
        for run in runs:
            run.hub.post(run.orphaned)
        if then is not None:
            then()

    def _anyway(self) -> None:
        with _lock:
            self._awaited = None
            then, self._then = self._then, None
        if then is not None:
            then()


@contextlib.contextmanager
def outside_limit(pool: Any) -> Generator[None, None, None]:
    """Not count for the limit of the running call's task, while it waits for a run.

    What it waits for may be calls of its own task.
    """
    inner = scope.get()
    slot = None if inner is None else inner.slot
    if slot is not None:
        pool.hub.post(slot.step_out)
    try:
        yield
    finally:
        if slot is not None:
            pool.hub.post(slot.step_in)


scope: ContextVar[Scope | None] = ContextVar("entangle_scope", default=None)
_of_worker: list[Scope] = []  # at most one: of the call that this worker runs


def parent() -> Scope | None:
    """Return the scope of the call that the calling code belongs to."""
    inner = scope.get()
    if inner is not None or worker.current is None:
        return inner
    return _worker_scope()


def _worker_scope() -> Scope:
    """Return the scope of the call that this worker process is running."""
    if not _of_worker:
        _of_worker.append(Scope())
        if worker.current is not None:
            worker.current.endings.append(_end_worker_scope)
    return _of_worker[0]


def _end_worker_scope() -> None:
    while _of_worker:
        _of_worker.pop().end()


def cancelled_error(future: Future[Any]) -> BaseException:
    """Return the error of a run whose argument is a future that was cancelled."""
    from concurrent.futures import CancelledError

    return CancelledError(f"{future!r}, an argument of this run, was cancelled")


def cancelled_run(name: str) -> BaseException:
    """Return the error of a caller that waits for a run that others have ended."""
    from concurrent.futures import CancelledError

    return CancelledError(
        f"the run of {name} was cancelled: shutdown() was called meanwhile, or the "
        f"call that has started it is over"
    )
