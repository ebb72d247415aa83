"""Following what jobs print while they run: one for all jobs of a place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from entangle._log import Log
from entangle.errors import EntangleError, PlaceBusyError

from .rhythm import Rhythm
from .ticket import THERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .executor import JobExecutor
    from .table import Table
    from .ticket import Ticket

log = Log("entangle.jobs")


class Follower:
    """Asks a place's log after all jobs that run, and tells what is new there.

    `due` and `next` belong to the desk's thread, `look` and `last` to who may wait.

    Args:
        place: The place.
        table: The jobs.
        seed: What the jitter of the pauses comes from.
    """

    def __init__(self, place: JobExecutor, table: Table, seed: int | None) -> None:
        self._place = place
        self._table = table
        self._rhythm = Rhythm(place.pace, seed)
        self._follows = place.capabilities.output
        self._looking = False
        self._at = 0.0

    def due(self, now: float) -> bool:
        """Tell whether `look` is to be called now; then it is taken as called."""
        if now < self.next():
            return False
        self._looking = True
        self._at = now + self._rhythm.next()
        return True

    def next(self) -> float:
        """Return when to look again, as of the desk's clock; not while it looks."""
        return math.inf if self._looking or not self._jobs() else self._at

    def _jobs(self) -> list[Ticket]:
        """Return those that are followed: what has not begun has printed nothing."""
        if not self._follows:
            return []
        return [ticket for ticket in self._table.all(THERE) if ticket.begun]

    def look(self) -> None:
        """Tell what is new of all jobs; what can't be read now is read later."""
        try:
            jobs, size = self._jobs(), self._place.batch
            for start in range(0, len(jobs), size):
                if self._ask(jobs[start : start + size]):
                    self._rhythm.news()
        except Exception as error:
            self._trouble(error)
        finally:
            self._looking = False

    def last(self, ticket: Ticket) -> None:
        """Tell what there is of a job that has ended, and won't tell itself."""
        if not self._follows:
            return
        try:
            self._ask([ticket])
        except Exception as error:
            self._trouble(error)
        ticket.printed.given_up()

    def _ask(self, tickets: Sequence[Ticket]) -> bool:
        found = self._place.log({t.handle: t.printed.cursor for t in tickets})
        news = False
        for ticket in tickets:
            piece = found.get(ticket.handle)
            if piece is not None:
                ticket.printed.cursor = piece.cursor
                news = ticket.printed.heard(piece.lines) or news
        return news

    def _trouble(self, error: Exception) -> None:
        """A network comes back, a refusal is for good: said once."""
        lasting = isinstance(error, EntangleError)
        if isinstance(error, PlaceBusyError) or not lasting:
            log.debug("the log of %s can't be read: %s", self._place.name, error)
        elif self._follows:
            self._follows = False
            log.warning(
                "what calls print in %s is told when they are over, since its log "
                "can't be followed: %s",
                self._place.name,
                error,
            )
