"""Executors that were made for targets: shared by runs, shut down when unused."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from entangle._log import Log
from entangle._worker import main as worker
from entangle.errors import PluginError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from .hub import Hub, Timer

log = Log("entangle.pool")

GRACE = 5.0  # seconds that an executor has to shut down
LONGEST = 120.0  # seconds that one has whose jobs are being ended meanwhile
_LOOK = 0.1  # seconds between two looks at those


class Ending(Protocol):
    """What an executor may tell of its end, as ``__entangle_ending__``: see `Desk`."""

    def left(self) -> Sequence[object]:
        """Return what is still to be ended."""
        ...

    def worth(self) -> float:
        """Return for how many more seconds its end is worth waiting for."""
        ...

    def give_up(self) -> None:
        """Wait for nothing more; say what is left."""


class Entry:
    """One executor, made or being made, with how many runs use it."""

    def __init__(self, key: Hashable, label: str) -> None:
        self.key = key
        self.label = label
        self.lock = threading.Lock()
        self.executor: Any = None
        self.users = 0
        self.closed = False
        self.timer: Timer | None = None


class Hosted:
    """Owns one executor for each target. Thread-safe as far as it says so."""

    def __init__(self, hub: Hub, idle: float) -> None:
        self._hub = hub
        self._idle = idle
        self._lock = threading.Lock()
        self._entries: dict[Hashable, Entry] = {}
        self._ending = False

    def take(self, key: Hashable, make: Callable[[], Any], label: str) -> Entry:
        """Return the executor of a target, made if need be; `give_back` must follow.

        Any thread, but not inside the monitor: making one may take its time.

        Args:
            key: The target.
            make: Makes the executor.
            label: Whose it is, for messages.

        Raises:
            PluginError: it can't be made.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = Entry(key, label)
            entry.users += 1
        try:
            with entry.lock:
                if entry.executor is None:
                    self._make(entry, make)
        except BaseException as error:
            with self._lock:
                entry.users -= 1
                if not entry.users and self._entries.get(key) is entry:
                    del self._entries[key]
            if not isinstance(error, Exception):
                raise
            reason = f"{label} can't make its executor: {one_line(error)}"
            raise PluginError(reason, plugin=label) from error
        return entry

    def _make(self, entry: Entry, make: Callable[[], Any]) -> None:
        made = make()
        with self._lock:
            entry.executor = made
            closed = entry.closed
        if closed:
            _shut_down(entry)
            raise RuntimeError("the pool was shut down meanwhile")
        self._end_with_task()

    def give_back(self, entry: Entry) -> None:
        """A run is done with an executor; inside the monitor only."""
        with self._lock:
            entry.users -= 1
            unused = not entry.users and not entry.closed
        if unused:
            if entry.timer is not None:
                entry.timer.cancel()
            # Seconds; of those that say so.
            idle = getattr(entry.executor, "__entangle_idle__", None)
            moment = time.monotonic() + (self._idle if idle is None else idle)
            entry.timer = self._hub.at(moment, partial(self._trim, entry))

    def _trim(self, entry: Entry) -> None:
        entry.timer = None
        with self._lock:
            if entry.users or self._entries.get(entry.key) is not entry:
                return
            del self._entries[entry.key]
        _shut_down(entry)

    def close(self) -> None:
        """Shut all executors down and wait for that, for some seconds.

        For longer while jobs are being ended, which cost as long as they run.
        """
        with self._lock:
            entries = list(self._entries.values())
            self._entries.clear()
            for entry in entries:
                entry.closed = True
        threads = [(entry, _shut_down(entry)) for entry in entries]
        begun = time.monotonic()
        late: list[Entry] = []
        try:
            for entry, thread in threads:
                if thread is not None and not _ended(entry, thread, begun):
                    late.append(entry)
        except BaseException:  # Ctrl-C
            late = [entry for entry in entries if _ending(entry) is not None]
            raise
        finally:
            for entry in late:
                _give_up(entry)
        for entry, thread in threads:
            ending = _ending(entry)
            if entry in late and thread and ending is not None and not ending.left():
                thread.join(GRACE)  # it removes what it can
                if thread.is_alive():
                    _leave(entry)

    def give_up(self) -> None:
        """Wait for none of them; those say what is left that know it."""
        with self._lock:
            entries = list(self._entries.values())
        for entry in entries:
            if _ending(entry) is not None:
                _give_up(entry)

    def _end_with_task(self) -> None:
        """Inside of a task: nothing may outlive it."""
        if worker.current is not None and not self._ending:
            self._ending = True
            worker.current.endings.append(self._task_ended)

    def _task_ended(self) -> None:
        self._ending = False
        self.close()


def _shut_down(entry: Entry) -> threading.Thread | None:
    """Shut an executor down on a thread of its own: it may block, or raise."""
    if entry.executor is None:
        return None

    def shut() -> None:
        try:
            entry.executor.shutdown(wait=True, cancel_futures=True)
        except BaseException:
            log.exception("%s: shutdown() failed", entry.label)

    thread = threading.Thread(target=shut, name="entangle-shutdown", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        shut()  # the interpreter starts no thread any more
        return None
    return thread


def _ending(entry: Entry) -> Ending | None:
    found: Ending | None = getattr(entry.executor, "__entangle_ending__", None)
    return found


def _ended(entry: Entry, thread: threading.Thread, begun: float) -> bool:
    """Wait for an executor's end, as long as that is worth it."""
    said = False
    while thread.is_alive():
        now = time.monotonic()
        seconds = begun + GRACE - now
        ending = _ending(entry)
        if ending is not None:
            seconds = max(seconds, min(ending.worth(), begun + LONGEST - now))
            if not said and now - begun >= GRACE and (left := len(ending.left())):
                said = True
                log.warning(
                    "%s: ending %s more jobs; who interrupts leaves them running",
                    entry.label,
                    f"{left:,}",
                )
        if seconds <= 0:
            return False
        thread.join(seconds if ending is None else min(seconds, _LOOK))
    return True


def _give_up(entry: Entry) -> None:
    """Leave an executor alone that has not ended."""
    ending = _ending(entry)
    if ending is not None:
        ending.give_up()
    else:
        _leave(entry)


def _leave(entry: Entry) -> None:
    log.warning(
        "%s: shutdown() has not returned within %g s; it is left alone",
        entry.label,
        GRACE,
    )
