"""Who observes runs: functions, and views of our own, for as long as they are asked to."""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from entangle._environ import variable
from entangle._log import Log
from entangle._seam import discovery
from entangle._worker import main as worker
from entangle.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from entangle._seam.events import Event

    from .telling import Teller

log = Log("entangle.run")

TRACE = "ENTANGLE_TRACE"
PROGRESS = "ENTANGLE_PROGRESS"
SETTLING = 10.0  # seconds that a caller waits for observers that it has asked for


class Observer:
    """Somebody who is told what happens in runs.

    Attributes:
        only: The types of events that are wanted; None for all.
        ours: Whether it is a view of ours: quick, and with no code of other people's.
        traces: Whether what calls send elsewhere is to carry a trace's identifier.
    """

    ours = False
    traces = False

    def __init__(self, only: frozenset[type] | None = None) -> None:
        self.only = only
        self._lock = threading.Lock()
        self._users = 1
        self._over = False

    def take(self, run: str, events: Sequence[Any]) -> None:
        """Take what the teller has made of one run; on the observers' thread."""
        raise NotImplementedError

    @property
    def teller(self) -> type[Teller]:
        """What makes for it what it takes: events, unless it has something else."""
        from .telling import Teller as Usual

        return Usual

    def over(self, run: str) -> None:
        """A run is over: nothing of it will come any more."""

    def closed(self) -> None:
        """Nothing will come any more."""

    def hold(self) -> None:
        """A run begins that it observes."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """A run is over, or whoever asked for it has no more."""
        with self._lock:
            self._users -= 1
            over = not self._users and not self._over
            self._over = self._over or over
        if over:
            self.closed()


class Called(Observer):
    """A function that is called with each event."""

    def __init__(
        self,
        function: Callable[[Any], object],
        only: frozenset[type] | None = None,
        trouble: Callable[[str, BaseException], object] | None = None,
    ) -> None:
        super().__init__(only)
        self._function = function
        self._trouble = trouble or _logged
        self._broken: set[str] = set()  # the runs in which it has raised

    def take(self, run: str, events: Sequence[Any]) -> None:
        """Pass events on, until it raises."""
        function, only = self._function, self.only
        if run in self._broken:
            return
        for event in events:
            if only is not None and type(event) not in only:
                continue
            try:
                function(event)
            except BaseException as error:
                self._broken.add(run)
                self._trouble("an observer failed", error)
                return


def _logged(what: str, error: BaseException) -> None:
    log.warning("%s: %s", what, one_line(error))


asked: ContextVar[tuple[Observer, ...]] = ContextVar("entangle_observers", default=())


def wanted() -> bool:
    """Tell whether somebody may want to observe the runs of this context.

    In a worker that is who has asked there: others observe the call that it runs.
    """
    if asked.get():
        return True
    if worker.current is not None:
        return False
    return bool(from_environment()) or observed_by_plugins()


def observed_by_plugins() -> bool:
    """Tell, fast, whether a plugin that is not switched off observes runs."""
    if not discovery.wanted():
        return False
    # Imported here: most programs have none.
    from entangle._seam.plugins import plugins

    return plugins.implements("entangle_observe")


# Whether the environment's wish for progress is met, or overruled, by the program.
progress_asked: ContextVar[bool] = ContextVar("entangle_progress", default=False)


def from_environment() -> tuple[Observer, ...]:
    """Return the views that the environment asks for."""
    trace, progress = variable(TRACE), variable(PROGRESS)
    if not trace and not progress:
        return ()
    if progress_asked.get():
        progress = ""
    # Imported here: most runs are seen by nobody.
    from entangle._see.asked import by_environment

    return by_environment(trace, progress)


@contextlib.contextmanager
def observed(observers: Iterable[Observer]) -> Generator[None, None, None]:
    """Have the runs that are begun in a block observed."""
    given = tuple(observers)
    token = asked.set((*asked.get(), *given))
    try:
        yield
    finally:
        asked.reset(token)
        for observer in given:
            observer.release()


@contextlib.contextmanager
def observe(
    function: Callable[[Event], object], *, only: Iterable[type] | None = None
) -> Generator[None, None, None]:
    """Have a function called with what happens in the runs that a block begins.

    The block counts as contexts do: runs that its tasks begin in threads belong to it,
    those that other threads of the program begin don't. A call of a graph returns when
    the function has seen all of its events (10 seconds are waited at most); of a run
    that was submitted they go on coming after the block.

    Args:
        function: It is called with each event, in order, on a thread that serves such
            functions and nothing else. No run waits for it: where it is 100,000
            events behind, it gets no more but the last, which says how many were
            dropped. If it raises, that is logged, and it is not called again for that
            run.
        only: The types of events that it is called with; all where left out. Those
            that nobody wants are not made.

    Raises:
        TypeError: there is no function, or no such type of events.
    """
    wanted = checked(function, only)
    with observed([Called(function, wanted)]):
        yield


def checked(function: object, only: Iterable[type] | None) -> frozenset[type] | None:
    """Check what `observe` was given, and return the types of events.

    Raises:
        TypeError: it makes no sense.
    """
    if not callable(function):
        raise TypeError(
            f"observe() takes a function of one event, not {type(function).__name__}"
        )
    if only is None:
        return None
    from .telling import ALL

    wanted: frozenset[Any] = frozenset(only)
    unknown = [each for each in wanted if each not in ALL]
    if unknown:
        names = ", ".join(sorted(kind.__name__ for kind in ALL))
        raise TypeError(f"observe(only=…) takes types of events ({names})")
    return wanted
