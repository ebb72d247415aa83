"""Ending jobs: many at once, as fast as their place takes it."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Final

from entangle._log import Log
from entangle.errors import PlaceBusyError

from .clerk import pause

if TYPE_CHECKING:
    from .clerk import Clerk
    from .desk import Desk
    from .executor import JobExecutor
    from .strays import Strays
    from .ticket import Ticket

log = Log("entangle.jobs")

_TRIES: Final = 12  # of a place that takes no ends: some minutes


class Ender:
    """Has a place end the jobs of calls that were cancelled. Thread-safe.

    Args:
        place: Whose jobs they are.
        desk: Sees them through.
        clerk: Removes what is left of those that are over.
        strays: Takes those that can't be ended.
    """

    def __init__(
        self, place: JobExecutor, desk: Desk, clerk: Clerk, strays: Strays
    ) -> None:
        self._place = place
        self._desk = desk
        self._clerk = clerk
        self._strays = strays
        self._lock = threading.Lock()
        self._queue: dict[Ticket, None] = {}  # in the order in which they came
        self._refused = False

    def add(self, *tickets: Ticket) -> None:
        """Note jobs that are to be ended, by a call of `work` for each."""
        with self._lock:
            self._queue.update(dict.fromkeys(tickets))

    def work(self) -> None:
        """End as many of them as one request takes, on a thread that may wait."""
        while batch := self._taken():
            try:
                over = self._place.end([ticket.handle for ticket in batch])
            except PlaceBusyError as error:
                # While this thread waits, the place is told less.
                time.sleep(self._troubled(batch, error))
                if batch[0].troubles > _TRIES:
                    self._failed(batch, error)
                    return
                self.add(*batch)
            except Exception as error:
                self._failed(batch, error)
                return
            else:
                self._told([(each, over.get(each.handle, False)) for each in batch])
                return

    def _taken(self) -> list[Ticket]:
        with self._lock:
            batch = list(itertools.islice(self._queue, self._place.end_batch))
            for ticket in batch:
                del self._queue[ticket]
            return batch

    def _troubled(self, batch: list[Ticket], error: PlaceBusyError) -> float:
        self._desk.alive()
        for ticket in batch:
            ticket.last = error
            ticket.troubles += 1
        return pause(max(ticket.troubles for ticket in batch))

    def _told(self, batch: list[tuple[Ticket, bool]]) -> None:
        for ticket, _ in batch:
            ticket.told = True
        self._refused = False
        self._desk.alive()
        for ticket, over in batch:
            if over and self._desk.take(ticket):
                self._clerk.remove_papers(ticket)
                ticket.call.cancelled("killed")
        if not all(over for _, over in batch):
            self._desk.soon()

    def _failed(self, batch: list[Ticket], error: Exception) -> None:
        if not self._refused:
            # Of the others the strays' own warning tells.
            self._refused = True
            first = batch[0].resource
            log.warning("%s can't end %s: %s", self._place.name, first, error)
        for ticket in batch:
            if self._desk.take(ticket):
                self._strays.add(ticket)
                ticket.call.cancelled("cannot kill")
