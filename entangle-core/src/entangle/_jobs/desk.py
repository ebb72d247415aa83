"""The table of one executor's jobs, and the one thread that asks after all of them.

Data flow: `submit` and `cancel` change the table, on any thread, and ring the bell.
The desk's thread makes rounds: it has what is due created and fetched by the crew (the
only threads that may wait for the place), and asks for news: in turn the store, which
has answers, and the place, which knows of jobs that ended without one. The lock covers
the table alone: neither the place nor a call is talked to under it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from entangle._log import Log
from entangle._pool.threads import Threads
from entangle.errors import (
    EntangleError,
    JobError,
    JobLostError,
    PlaceBusyError,
    ProcessTimeoutException,
)

from . import ticket as stages
from .clerk import Clerk
from .job import JobState
from .rhythm import Rhythm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from entangle._seam.call import Call

    from .executor import JobExecutor
    from .papers import Papers
    from .ticket import Ticket

log = Log("entangle.jobs")

PATIENCE = 120.0  # seconds for which nothing but errors may be heard of a place
SETTLING = 60.0  # seconds in which a place may not know yet of a job it has taken
START = 3600.0  # seconds that a job may wait, where its task doesn't say


class Desk:
    """Sees jobs through, from call to end. Thread-safe.

    Attributes:
        papers: Where the jobs' payloads and answers lie.

    Args:
        place: Whose jobs they are.
        papers: See above.
        clock: The time in seconds, like `time.monotonic`.
        seed: What the jitter of the rounds comes from.
    """

    def __init__(
        self,
        place: JobExecutor,
        papers: Papers,
        clock: Callable[[], float],
        seed: int | None = None,
    ) -> None:
        self._place = place
        self.papers = papers
        self._clock = clock
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}
        self._by_call: dict[Call, Ticket] = {}
        self._rhythm = Rhythm(place.pace, seed)
        self._ask_at = 0.0
        self._asks_place = False
        self._troubled: float | None = None
        self._closing = False
        self._busy = 0
        self._counting = threading.Lock()
        self._local = threading.local()
        self._bell = threading.Event()
        self._crew = Threads(place.hands, linger=5.0)
        self._clerk = Clerk(place, papers, self)
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    # -- from any thread ---------------------------------------------------------

    def submit(self, ticket: Ticket, *, serve: bool = True) -> None:
        """Take a job.

        Args:
            ticket: The job.
            serve: Whether rounds are made by a thread; else whoever tests makes them.

        Raises:
            RuntimeError: It takes no more.
        """
        with self._lock:
            if self._closing:
                raise RuntimeError("cannot start calls after shutdown")
            self._tickets[ticket.name] = ticket
            self._by_call[ticket.call] = ticket
            if serve and self._thread is None:
                name = f"entangle-jobs-{self._place.name}"
                self._thread = threading.Thread(
                    target=self._serve, name=name, daemon=True
                )
                self._thread.start()
        self._bell.set()

    def cancel(self, call: Call) -> None:
        """End a call's job; nothing if it is over."""
        how = ""
        with self._lock:
            ticket = self._by_call.get(call)
            if ticket is None or ticket.stage in {stages.ANSWERED, stages.FETCHING}:
                return
            if ticket.stage == stages.QUEUED:
                how = "already done"
            elif not self._place.capabilities.kill:
                how = "abandoned"
            elif ticket.stage == stages.CREATING:
                ticket.unwanted = True
            elif ticket.stage == stages.THERE:
                ticket.stage = stages.ENDING
                self._do(self._clerk.end, ticket)
            if how:
                self._forget(ticket)
        if how:
            call.cancelled(how)
            self._bell.set()

    def take(self, ticket: Ticket) -> bool:
        """Take a job off the table; False if somebody else did, whose end it is."""
        with self._lock:
            return self._forget(ticket)

    def created(self, ticket: Ticket, made: str | bytes) -> None:
        """The place has a job now, or has even answered."""
        with self._lock:
            ticket.packed = None
            ticket.troubles = 0
            if isinstance(made, bytes):
                ticket.answer = made
                ticket.stage = stages.ANSWERED
            else:
                ticket.handle = made
                ticket.stage = stages.THERE
            if ticket.unwanted:
                ticket.stage = stages.ENDING
                self._do(self._clerk.end, ticket)
            self._soon()

    def later(self, ticket: Ticket, stage: str, seconds: float) -> None:
        """Go on with a job at some time, from some stage."""
        with self._lock:
            ticket.stage = stage
            ticket.due = self._clock() + seconds

    def ending(self) -> None:
        """A job was told to end: its end is to be heard of soon."""
        with self._lock:
            self._soon()

    def close(self) -> None:
        """Take no more jobs, and end when the last is over."""
        with self._lock:
            self._closing = True
            unused = self._thread is None
            if unused:
                self._thread = threading.current_thread()
        self._bell.set()
        if unused:
            self._leave()

    def join(self) -> None:
        """Wait until all is over; on a thread of its own nothing is waited for."""
        ours = threading.current_thread() is self._thread
        if not ours and not getattr(self._local, "ours", False):
            self._over.wait()

    # -- on the desk's thread ----------------------------------------------------

    def round(self) -> float | None:
        """Do what is due; return the seconds until the next round, None for no need."""
        now = self._clock()
        self._launch(now)
        with self._lock:
            there = [t for t in self._tickets.values() if t.handle and not t.answer]
            asking = bool(there) and now >= self._ask_at
        if asking:
            try:
                self._question(there, now)
            except Exception as error:
                self._trouble(error, there, now)
            else:
                self._troubled = None
            self._launch(now)
            self._ask_at = now + self._rhythm.next()
        with self._lock:
            moments = [
                ticket.due
                for ticket in self._tickets.values()
                if ticket.stage in {stages.QUEUED, stages.ANSWERED}
            ]
            if any(t.handle and not t.answer for t in self._tickets.values()):
                moments.append(self._ask_at)
        return max(0.0, min(moments) - self._clock()) if moments else None

    def _serve(self) -> None:
        try:
            while True:
                self._bell.clear()
                with self._lock:
                    if self._closing and not self._tickets and not self._busy:
                        break
                self._bell.wait(self.round())
        except BaseException as error:
            log.exception("the jobs of %s can't be looked after", self._place.name)
            for ticket in [*self._tickets.values()]:
                if self.take(ticket):
                    ticket.call.failed(error)
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._closing = True
        try:
            self.papers.close()
        except Exception:
            log.exception("what the jobs of %s have left is not removed", self._place.name)
        self._crew.close()
        self._over.set()

    def _launch(self, now: float) -> None:
        """Have everything done that is due."""
        with self._lock:
            for ticket in self._tickets.values():
                if ticket.due > now:
                    continue
                if ticket.stage == stages.QUEUED:
                    ticket.stage = stages.CREATING
                    self._do(self._clerk.create, ticket)
                elif ticket.stage == stages.ANSWERED:
                    ticket.stage = stages.FETCHING
                    self._do(self._clerk.finish, ticket)
        self._overdue(now)

    def _question(self, there: list[Ticket], now: float) -> None:
        """Ask the store or the place, in turn: neither is asked more than needed."""
        self._asks_place = not self._asks_place or self.papers.store is None
        if not self._asks_place:
            self._look(now)
            return
        size = self._place.batch
        for start in range(0, len(there), size):
            batch = there[start : start + size]
            states = self._place.poll([ticket.handle for ticket in batch])
            for ticket in batch:
                self._heard(ticket, states.get(ticket.handle), now)

    def _look(self, now: float) -> None:
        """Look what jobs have written; who ended before, and wrote nothing, is lost."""
        with self._lock:
            ended = [ticket for ticket in self._tickets.values() if ticket.ended]
        for found in self.papers.news():
            name, kind = self.papers.job_of(found.key)
            with self._lock:
                ticket = self._tickets.get(name)
                if ticket is None:
                    continue
                if kind == "answer" and ticket.stage in {stages.THERE, stages.ENDING}:
                    ticket.stage, ticket.due = stages.ANSWERED, now
                    self._rhythm.news()
                starts = kind == "started" and not ticket.begun
                ticket.begun = ticket.begun or starts
            if starts:
                self._rhythm.news()
                ticket.call.started()
        for ticket in ended:
            if ticket.stage in {stages.THERE, stages.ENDING}:
                self.lost(ticket)

    def _heard(self, ticket: Ticket, state: JobState | None, now: float) -> None:
        """The place has said something of a job, or nothing."""
        known = state is not None and state.state != "gone"
        if known:
            ticket.unknown = None
        elif ticket.unknown is None:
            ticket.unknown = now
        vanished = not known and (
            ticket.stage == stages.ENDING
            or now - max(ticket.unknown or now, ticket.given) >= SETTLING
        )
        if state is not None and known:
            ticket.waits = state.state == "waiting"
        over = vanished or (state is not None and state.state == "ended")
        if not over or ticket.ended is not None:
            return
        gone = JobState("gone", "the place knows nothing of it any more")
        ticket.ended = state if state is not None and known else gone
        self._rhythm.news()
        if self.papers.store is None and ticket.stage == stages.THERE:
            # Only the place itself can have its answer.
            ticket.stage, ticket.due = stages.ANSWERED, now
        elif self.papers.store is None:
            self.lost(ticket)

    def lost(self, ticket: Ticket) -> None:
        """A job is over and has not answered."""
        state = ticket.ended
        if state is None or not self.take(ticket):
            return
        if ticket.stage == stages.ENDING:
            ticket.call.cancelled("killed")
        else:
            ticket.call.failed(
                JobLostError(
                    node=ticket.call.name,
                    place=self._place.name,
                    resource=ticket.resource,
                    reason=state.reason,
                    exit_code=state.exit_code,
                    out_of_memory=state.out_of_memory,
                )
            )
        self._do(self._clerk.discard, ticket)

    def _overdue(self, now: float) -> None:
        """Give up jobs that wait for longer than is reasonable."""
        with self._lock:
            late = [
                ticket
                for ticket in self._tickets.values()
                if ticket.waits
                and not ticket.begun
                and ticket.call.options.start is None
                and now - ticket.given >= START
                and ticket.stage in {stages.QUEUED, stages.THERE}
            ]
            for ticket in late:
                self._forget(ticket)
        for ticket in late:
            error = ProcessTimeoutException(
                node=ticket.call.name, phase="start", seconds=START
            )
            error.__cause__ = ticket.last
            ticket.call.failed(error)
            if ticket.handle:
                self._do(self._clerk.discard, ticket)

    def _trouble(self, error: Exception, there: Iterable[Ticket], now: float) -> None:
        """The place can't be asked: a network passes, a refusal does not."""
        if self._troubled is None:
            self._troubled = now
            log.warning("%s can't be asked after its jobs: %s", self._place.name, error)
        lasting = isinstance(error, EntangleError) and not isinstance(
            error, PlaceBusyError
        )
        if not lasting and now - self._troubled < PATIENCE:
            return
        for ticket in there:
            if self.take(ticket):
                self.papers.keep(ticket)
                where = self.papers.where(ticket)
                answer = f"; should it answer, that lies in {where}" if where else ""
                reason = f"it can't be asked after: {error}{answer}"
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

    # -- with the lock held ------------------------------------------------------

    def _forget(self, ticket: Ticket) -> bool:
        self._by_call.pop(ticket.call, None)
        return self._tickets.pop(ticket.name, None) is not None

    def _soon(self) -> None:
        self._rhythm.news()
        self._ask_at = min(self._ask_at, self._clock() + self._rhythm.next())
        self._bell.set()

    def _do(self, work: Callable[[Ticket], None], ticket: Ticket) -> None:
        """Have the crew do something for a job; the desk stays open until then."""

        def done() -> None:
            self._local.ours = True
            try:
                work(ticket)
            except BaseException as error:
                log.exception("job %s", ticket.resource)
                if self.take(ticket):
                    ticket.call.failed(error)
            finally:
                with self._counting:
                    self._busy -= 1
                self._bell.set()

        with self._counting:
            self._busy += 1
        self._crew.run(done)
