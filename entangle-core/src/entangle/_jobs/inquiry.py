"""Asking after jobs, and what follows from what is heard."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Final

from entangle._log import Log
from entangle.errors import (
    EntangleError,
    JobError,
    JobLostError,
    ProcessTimeoutException,
)

from .job import JobState
from .papers import moment
from .ticket import ANSWERED, ENDING, QUEUED, THERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .executor import JobExecutor
    from .papers import Papers
    from .strays import Strays
    from .table import Table
    from .ticket import Ticket

log = Log("entangle.jobs")

PATIENCE: Final = 120.0  # seconds for which nothing but errors may be heard
SETTLING: Final = 60.0  # seconds in which a place may not know yet of what it has taken
START: Final = 3600.0  # seconds that a job may wait, where its task doesn't say
_SELDOM: Final = 4  # questions after which one that was told to end is told again
_GONE: Final = JobState("gone", "the place knows nothing of it any more")


class Inquiry:
    """Asks in turn the store, which has answers, and the place, which knows of deaths.

    Used by one thread.

    Args:
        place: The place.
        papers: What its jobs read and write.
        table: The jobs.
        discard: Has what is left of a job removed.
        end: Has a place told to end a job.
        fail: Has a call failed that is off the table, and the rest of its job removed.
        strays: Takes jobs that may run on though their calls are over.
    """

    def __init__(
        self,
        place: JobExecutor,
        papers: Papers,
        table: Table,
        discard: Callable[[Ticket], None],
        end: Callable[[Ticket], None],
        fail: Callable[[Ticket, BaseException], None],
        strays: Strays,
    ) -> None:
        self._place = place
        self._papers = papers
        self._table = table
        self._discard = discard
        self._end = end
        self._fail = fail
        self._strays = strays
        self._asks_place = False
        # Whether it is the place, and since when it can't be asked.
        self._troubled: dict[bool, float] = {}

    def ask(self, now: float) -> bool:
        """Ask after all jobs that the place has; tell whether there was any news."""
        there = self._table.all(THERE, ENDING)
        if not there:
            self._troubled.clear()
            return False
        try:
            # Neither is asked more than needed: many jobs mean many requests.
            self._asks_place = not self._asks_place or self._papers.store is None
            news = self._ask_place(there, now) if self._asks_place else self._look(now)
        except Exception as error:
            self._trouble(error, now)
            return False
        self._troubled.pop(self._asks_place, None)
        return news

    def lost(self, ticket: Ticket) -> None:
        """A job is over and has not answered."""
        state = ticket.ended or _GONE
        if not self._table.take(ticket):
            return
        if ticket.stage == ENDING:
            ticket.call.cancelled("killed")
            self._discard(ticket)
            return
        error = JobLostError(
            node=ticket.call.name,
            place=self._place.name,
            resource=ticket.resource,
            reason=state.reason + _too_late(ticket),
            exit_code=state.exit_code,
            out_of_memory=state.out_of_memory,
        )
        self._fail(ticket, error)

    def overdue(self, now: float) -> None:
        """Give up jobs that have waited for longer than is reasonable."""
        for ticket in self._table.all(QUEUED, THERE):
            if ticket.begun or not ticket.waits:
                continue
            error: EntangleError
            asked = ticket.call.options.start is not None
            seconds = self._place.patience
            exists = 0.0 if ticket.created is None else now - ticket.created
            if exists >= seconds and not asked:
                said = f" ({ticket.said})" if ticket.said else ""
                reason = f"it has not begun for {seconds:g} s{said} and is ended"
                error = self.error(ticket, reason)
            elif now >= self.latest_start(ticket):
                error = ProcessTimeoutException(
                    node=ticket.call.name,
                    phase="start",
                    seconds=self.latest_start(ticket) - ticket.given,
                )
                error.__cause__ = ticket.last
            else:
                continue
            if self._table.take(ticket):
                ticket.call.failed(error)
                self._discard(ticket)

    def latest_start(self, ticket: Ticket) -> float:
        """Return when a job has to have begun, as of the desk's clock."""
        asked = ticket.call.options.start
        if asked is None:
            return ticket.given + START
        # Where starts are told, it is for the run to count.
        return math.inf if self._place.capabilities.started else ticket.given + asked

    def _look(self, now: float) -> bool:
        """Look what jobs have written; who ended before, and wrote nothing, is lost."""
        ended = [ticket for ticket in self._table.all(THERE, ENDING) if ticket.ended]
        news = False
        for found in self._papers.news():
            name, kind = self._papers.job_of(found.key)
            with self._table.lock:
                ticket = self._table.named(name)
                if ticket is None:
                    continue
                if kind == "answer" and ticket.stage in {THERE, ENDING}:
                    ticket.stage, ticket.due = ANSWERED, now
                    news = True
                starts = kind == "started" and not ticket.begun
                ticket.begun = ticket.begun or starts
            if starts:
                news = True
                if ticket.call.wants_start:
                    ticket.call.started()
        for ticket in ended:
            if ticket.stage in {THERE, ENDING}:
                self.lost(ticket)
        return news

    def _ask_place(self, there: list[Ticket], now: float) -> bool:
        size = self._place.batch
        news = False
        for start in range(0, len(there), size):
            batch = there[start : start + size]
            states = self._place.poll([ticket.handle for ticket in batch])
            for ticket in batch:
                news = self._heard(ticket, states.get(ticket.handle), now) or news
        return news

    def _heard(self, ticket: Ticket, state: JobState | None, now: float) -> bool:
        """The place has said something of a job, or nothing; tell whether it is over."""
        if state is None or state.state == "gone":
            if ticket.unknown is None:
                ticket.unknown = now
            settled = ticket.known or now - ticket.unknown >= SETTLING
            if not settled and ticket.stage != ENDING:
                return False
            state = state or _GONE
        else:
            ticket.known = True
            ticket.waits, ticket.said = state.state == "waiting", state.reason
            if state.state != "ended":
                if ticket.stage == ENDING:
                    self._insist(ticket)
                return False
        if ticket.ended is not None:
            return False
        ticket.ended = state
        if self._papers.store is not None:
            return True  # its answer may lie there
        with self._table.lock:
            asked = ticket.stage == THERE
            if asked:
                # Only the place itself can have it.
                ticket.stage, ticket.due = ANSWERED, now
        if not asked:
            self.lost(ticket)
        return True

    def _insist(self, ticket: Ticket) -> None:
        """Tell a place again that has been told to end a job: it may not have heard."""
        if not ticket.told:
            return  # that is under way
        ticket.troubles += 1
        if ticket.troubles % _SELDOM == 0:
            self._end(ticket)

    def _trouble(self, error: Exception, now: float) -> None:
        """One of the two can't be asked: networks come back, credentials are renewed."""
        since = self._troubled.get(self._asks_place)
        if since is None:
            self._troubled[self._asks_place] = now
            log.warning(
                "%s can't be asked after its jobs: %s; it is asked again for %g s, then "
                "their calls fail",
                self._place.name,
                error,
                PATIENCE,
            )
            return
        if now - since < PATIENCE:
            return
        self._troubled.clear()  # jobs to come have a time of their own
        if self._asks_place:
            # The answers that are there count all the same.
            with contextlib.suppress(Exception):
                self._look(now)
        for ticket in self._table.all(THERE, ENDING):
            if self._table.take(ticket):
                reason = f"it can't be asked after, for {PATIENCE:g} s: {error}"
                if ticket.ended is None:
                    self._strays.add(ticket)
                    reason += "; it is told to end when the program ends"
                failure = self.error(ticket, reason)
                failure.__cause__ = error
                ticket.call.failed(failure)

    def error(self, ticket: Ticket, reason: str) -> JobError:
        """Return the error that says what is wrong with a job."""
        return JobError(
            reason,
            node=ticket.call.name,
            place=self._place.name,
            resource=ticket.resource,
        )


def _too_late(ticket: Ticket) -> str:
    """Return what to say of a job that had no way for its answer any more, or ''."""
    if time.time() < ticket.until:
        return ""
    return (
        f"; until {moment(ticket.until)} it could fetch its call and leave its answer, "
        "since the credentials expired then that had signed the addresses: use some "
        "that last longer, or limit the task by timeout="
    )
