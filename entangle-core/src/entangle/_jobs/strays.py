"""Jobs that may still run though their calls are over."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from entangle._log import Log
from entangle.errors import PlaceBusyError

from .clerk import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .executor import JobExecutor
    from .ticket import Ticket

log = Log("entangle.jobs")

_REFUSALS: Final = 3  # in a row, after which no more is asked
_BUSY: Final = 8  # tries of one request at a place that has too much to do
_NAMED: Final = 10  # jobs that a warning names


class Strays:
    """Those that could not be ended, until it is tried once more. Thread-safe.

    Args:
        place: Whose jobs they are.
        alive: Called when the place has answered.
    """

    def __init__(self, place: JobExecutor, alive: Callable[[], None]) -> None:
        self._place = place
        self._alive = alive
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}
        self._refusals = 0
        self._error: Exception | None = None

    def add(self, ticket: Ticket) -> None:
        """Remember a job, if the place has it."""
        if ticket.handle:
            with self._lock:
                self._tickets[ticket.handle] = ticket

    def all(self) -> list[Ticket]:
        """Return those that were not ended yet."""
        with self._lock:
            return [*self._tickets.values()]

    def end(self) -> list[Ticket]:
        """End them all; return those that could not be ended."""
        todo = self.all()
        size = self._place.end_batch
        batches = [todo[start : start + size] for start in range(0, len(todo), size)]
        batches.reverse()
        # One by one until one is taken: who refuses is not asked by many at once.
        while batches and self._refusals < _REFUSALS:
            self._tell(batches.pop())
            if not self._refusals:
                self._end_at_once(batches)
        return self.all()

    def _end_at_once(self, batches: list[list[Ticket]]) -> None:
        """End batches with several threads, until the place refuses."""

        def drain() -> None:
            while self._refusals < _REFUSALS:
                with self._lock:
                    if not batches:
                        return
                    batch = batches.pop()
                self._tell(batch)

        several = [
            threading.Thread(target=drain, daemon=True)
            for _ in range(min(self._place.enders, len(batches)))
        ]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()

    def warn(self, left: Sequence[Ticket], why: object = None) -> None:
        """Say in one warning which jobs may still run, and until when."""
        place = self._place
        names = ", ".join(ticket.resource for ticket in left[:_NAMED])
        if len(left) > _NAMED:
            names += f" and {len(left) - _NAMED:,} more"
        expires = max(ticket.expires for ticket in left)
        until = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(expires))
        log.warning(
            "%s of %s may still run%s: %s; they can't be ended: %s; `%s` ends them "
            "when this program is over",
            f"{len(left):,} jobs" if len(left) > 1 else "a job",
            place.name,
            f", until {until} UTC at the latest" if expires else "",
            names,
            why or self._error,
            f"entangle sweep {place.plugin}".strip(),
        )

    def _tell(self, batch: Sequence[Ticket]) -> None:
        try:
            self._end([ticket.handle for ticket in batch])
        except Exception as refusal:
            self._error = refusal
            self._refusals += 1
        else:
            self._refusals = 0
            with self._lock:
                for ticket in batch:
                    self._tickets.pop(ticket.handle, None)
            self._alive()

    def _end(self, handles: Sequence[str]) -> None:
        for troubles in range(1, _BUSY):
            try:
                self._place.end(handles)
            except PlaceBusyError:
                self._alive()
                time.sleep(pause(troubles))
            else:
                return
        self._place.end(handles)
