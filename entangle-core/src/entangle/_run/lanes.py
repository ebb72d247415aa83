"""The way of a run's notes to those who observe it: noted here, told over there.

Notes are taken where things happen, inside the monitor or on the thread of a call, and
told many at a time on a thread that no run waits for. There are two such threads: one
for functions of other people, one for what is ours (logs, displays, traces), which must
not wait for theirs.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from entangle._log import Log
from entangle._seam.events import RunEnded

from .telling import ALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from entangle._pool.serial import Serial

    from .observing import Observer
    from .telling import Note

log = Log("entangle.run")

MOST_BEHIND = 100_000  # events that wait for the observers of a run
AT_ONCE: Final = 256  # events that are told before other threads may run
PAUSE: Final = 0.1  # seconds for which notes are gathered


class Lane:
    """The observers of one run that share a thread."""

    def __init__(
        self,
        observers: Sequence[Observer],
        serial: Serial,
        run: str,
        epoch: float,
        numbers: Mapping[Any, int],
    ) -> None:
        self._observers = observers
        self._serial = serial
        wants: set[type] = set()
        for observer in observers:
            wants |= ALL if observer.only is None else observer.only
        self._wants = wants
        self._run = run
        self._teller = observers[0].teller(run, epoch, wants, numbers)
        self._notes: deque[Note] = deque()
        self._noted = 0  # events, about; written where notes are taken
        self._told = 0  # written on the observers' thread
        self._dropped = 0
        self._called = False

    def wants(self, kind: type) -> bool:
        """Tell whether any of them wants events of a type."""
        return kind in self._wants

    def note(self, tell: str, what: Any, count: int = 1) -> None:
        """Take a note, unless too many wait. Thread-safe.

        Args:
            tell: The name of the method of `Teller` that makes events of it.
            what: What it is given.
            count: How many events that are; 0 for what must not be dropped.
        """
        if self._noted - self._told >= MOST_BEHIND and count:
            self._dropped += count
            return
        self._noted += count
        self._notes.append((tell, what, count))

    def flush(self) -> None:
        """Have what is noted told soon."""
        if self._notes and not self._called:
            self._called = True
            self._serial.call(self._tell)

    def settle(self, done: Any) -> None:
        """Have something called when all that is noted was told."""
        self.flush()
        self._serial.call(done)

    def finish(self, outcome: str, error: str, moment: float) -> None:
        """Take the last note, with how many were dropped."""
        ended = RunEnded(self._run, moment, outcome, error, self._dropped)
        self._notes.append(("finished", ended, 0))
        self.flush()

    def _tell(self) -> None:
        self._called = False
        teller, notes = self._teller, self._notes
        while notes:
            while notes and len(teller.events) < AT_ONCE:
                tell, what, count = notes.popleft()
                self._told += count
                try:
                    getattr(teller, tell)(what)
                except Exception:
                    log.exception("what was noted of a run can't be told")
            events, teller.events = teller.events, []
            for observer in self._observers:
                try:
                    observer.take(self._run, events)
                except Exception:
                    log.exception("a view of a run has failed")
            if teller.over:
                observers, self._observers = self._observers, ()
                for observer in observers:
                    observer.over(self._run)
                    observer.release()
            if notes:
                # Let go of the interpreter: this thread is in no hurry.
                time.sleep(0)
