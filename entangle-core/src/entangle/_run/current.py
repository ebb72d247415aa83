"""Which call the running code belongs to, so that what it starts ends with it."""

from __future__ import annotations

import contextlib
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from entangle._graph.options import Options
from entangle._worker import main as worker

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Hashable
    from concurrent.futures import Future

    from .run import Run

NO_OPTIONS = Options()


class Scope:
    """The runs that one call has started. Thread-safe.

    Attributes:
        limited: The key of the limit that the call counts for, None without one.
    """

    def __init__(self, limited: Hashable = None) -> None:
        self.limited = limited
        self._lock = threading.Lock()
        self._runs: weakref.WeakSet[Run] = weakref.WeakSet()
        self._ended = False
        self._awaited: set[Run] = set()
        self._then: Callable[[], None] | None = None

    def adopt(self, run: Run) -> None:
        """Take charge of a new run; one that comes too late is cancelled at once."""
        with self._lock:
            self._runs.add(run)
            ended = self._ended
        if ended:
            run.hub.post(run.cancel)

    def release(self, run: Run) -> None:
        """A run is over."""
        then = None
        with self._lock:
            self._runs.discard(run)
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
            then: Called when all that could be ended of the others has been.
        """
        with self._lock:
            self._ended = True
            runs = [run for run in self._runs if run not in keep]
            if then is not None:
                self._awaited = {run for run in runs if run.under_way}
                if self._awaited:
                    self._then, then = then, None
        for run in runs:
            run.hub.post(run.cancel)
        if then is not None:
            then()


@contextlib.contextmanager
def outside_limit(pool: Any) -> Generator[None, None, None]:
    """Not count for the limit of the running call's task, while it waits for a run.

    What it waits for may be calls of its own task.
    """
    inner = scope.get()
    limited = None if inner is None else inner.limited
    if limited is not None:
        pool.hub.post(pool.limits.leave, limited)
    try:
        yield
    finally:
        if limited is not None:
            pool.hub.post(pool.limits.step_in, limited)


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
