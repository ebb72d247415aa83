"""What one job prints: told in order, once, though a log and its answer both say it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from entangle._worker import lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from entangle._seam.call import Call
    from entangle._worker.lines import Line

    from .answers import Answer

_KEPT: Final = 10  # lines of a program's own that are kept
# Lines that are kept while one before them is missing; beyond that they are told with
# the answer.
_MOST_EARLY: Final = 10_000


class Printed:
    """Passes the output of one job on to its call. Thread-safe.

    Attributes:
        cursor: How far the place's log was read.
        said: The last lines of that log that are not of the call itself: what Python
            and the job's program have to say.

    Args:
        call: The call.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        # Held while the call is told something, which never waits.
        self._lock = threading.Lock()
        self._next = 1
        self._early: dict[int, Line] = {}
        self._over = False
        self.cursor = ""
        self.said: deque[str] = deque(maxlen=_KEPT)

    def heard(self, texts: Iterable[str]) -> bool:
        """Tell what has come by the log; whether there was anything new."""
        with self._lock:
            told: list[Line] = []
            for text in texts:
                line = lines.read(text)
                if line is None:
                    if text not in self.said:
                        self.said.append(text)
                elif line.number >= self._next and len(self._early) < _MOST_EARLY:
                    self._early[line.number] = line
                while found := self._early.pop(self._next, None):
                    told.append(found)
                    self._next += 1
            if not self._over:
                self._tell(told)
            return bool(told)

    def answered(self, answer: Answer) -> None:
        """Tell what the log has not told: the answer has all."""
        with self._lock:
            self._over = True
            for stream, text in answer.output(self._next):
                self._call.output(stream, text)
            self._early.clear()

    def given_up(self) -> None:
        """Tell what has come of the log so far, whatever is missing in between."""
        with self._lock:
            if not self._over:
                self._tell([self._early[number] for number in sorted(self._early)])
            self._over = True

    def _tell(self, several: list[Line]) -> None:
        for stream, text in lines.joined(several):
            self._call.output(stream, text)
