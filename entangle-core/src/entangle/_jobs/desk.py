"""The desk: sees the jobs of one executor through, with one thread for all of them.

Data flow: `submit` and `cancel` change the table, on any thread, and ring the bell.
The desk's thread makes rounds: it has what is due created and fetched by the crew (the
only threads that may wait for the place for one job's sake), and asks for news of all.
"""

from __future__ import annotations

import math
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, overload

from entangle._log import Log
from entangle._pool.threads import Threads

from .clerk import Clerk
from .ending import Ender
from .follower import Follower
from .inquiry import Inquiry
from .probe import Probe
from .rhythm import Rhythm
from .strays import Strays
from .table import Table
from .ticket import ANSWERED, AWAITED, CREATING, ENDING, FETCHING, QUEUED, THERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from entangle._seam.call import Call

    from .executor import JobExecutor
    from .papers import Papers
    from .ticket import Ticket

log = Log("entangle.jobs")

_BACKLOG = 2  # jobs that wait for each thread of the crew to create them
_MOST = 256 << 20  # bytes of the calls whose payloads are held at once
_LINGER = 5.0  # seconds that a thread of the crew waits for more to do
_SILENT = 10.0  # seconds without a word after which nobody will be told any more
_SETTLING = 5.0  # seconds without a word for which ends are awaited that were told


class Crew(Protocol):
    """Threads that do what may take its time."""

    def run(self, work: Callable[[], None]) -> None:
        """Have something done soon, and return at once."""

    def close(self) -> None:
        """Let the threads end when all is done."""


class Desk:
    """Sees jobs through, from call to end. Thread-safe.

    Attributes:
        papers: What the jobs read and write.

    Args:
        place: Whose jobs they are.
        papers: See above.
        clock: The time in seconds, like `time.monotonic`.
        crew: Who does what may take its time; by default threads of its own, and
            others to end jobs.
        seed: What the jitter of the rounds comes from.
    """

    def __init__(
        self,
        place: JobExecutor,
        papers: Papers,
        clock: Callable[[], float],
        crew: Crew | None = None,
        seed: int | None = None,
    ) -> None:
        self.papers = papers
        self._place = place
        self._clock = clock
        self._crew: Crew = crew or Threads(place.hands, linger=_LINGER)
        # What is to be ended costs: it does not wait behind anything else.
        self._enders: Crew = crew or Threads(place.enders, linger=_LINGER)
        self._table = Table()
        self._strays = Strays(place, self.alive)
        self._clerk = Clerk(place, papers, self, self._strays, clock)
        self._ender = Ender(place, self, self._clerk, self._strays)
        self._inquiry = Inquiry(
            place,
            papers,
            self._table,
            discard=self._discard,
            end=self._end,
            fail=self._fail,
            strays=self._strays,
        )
        self._follower = Follower(place, self._table, seed)
        self._probe = Probe(place, self._table)
        self._rhythm = Rhythm(place.pace, seed)
        self._ask_at = 0.0
        self._closing = False
        self._given_up = False
        self._alive = 0.0
        # What the crew has to do, for whom; None for all.
        self._works: dict[object, Ticket | None] = {}
        self._local = threading.local()
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    # -- from any thread ---------------------------------------------------------

    def submit(
        self, ticket: Ticket, *, serve: bool = True, again: bool = False
    ) -> None:
        """Take a job.

        Args:
            ticket: The job.
            serve: Whether a thread makes the rounds; else whoever calls `round`.
            again: Whether its call was taken before.

        Raises:
            RuntimeError: It takes no more.
        """
        with self._table.lock:
            if self._closing and not again:
                raise RuntimeError("cannot start calls after shutdown")
            self._table.add(ticket)
            if serve and not again and self._thread is None:
                name = f"entangle-jobs-{self._place.name}"
                self._thread = threading.Thread(
                    target=self._serve, name=name, daemon=True
                )
                self._thread.start()
        self._bell.set()

    def cancel(self, call: Call) -> None:
        """End a call's job; nothing if it is over."""
        how = ""
        with self._table.lock:
            ticket = self._table.of(call)
            if ticket is None or ticket.stage in {ANSWERED, FETCHING}:
                return
            if ticket.stage == QUEUED:
                how = "already done"
            elif not self._place.capabilities.kill:
                how = "abandoned"
                ticket.unwanted = True  # where the crew has not come to it yet
            elif ticket.stage in {CREATING, AWAITED}:
                ticket.unwanted = True
            elif ticket.stage == THERE:
                ticket.stage = ENDING
                self._end(ticket)
            if how:
                ticket.abandoned = True
                self._table.take(ticket)
            coming = ticket.coming
        if how:
            call.cancelled(how)
            self._bell.set()
        if coming is not None:
            coming.cancel()

    def take(self, ticket: Ticket) -> bool:
        """Take a job off the table; False if somebody else did, who reports its end."""
        self._alive = self._clock()
        return self._table.take(ticket)

    def alive(self) -> None:
        """The place has done something, or has said that it has too much to do."""
        self._alive = self._clock()

    def created(self, ticket: Ticket, made: str | bytes) -> None:
        """The place has a job now, or has even answered."""
        self.alive()
        with self._table.lock:
            ticket.packed = ticket.coming = None
            ticket.troubles = 0
            if isinstance(made, bytes):
                ticket.answer = made
                ticket.stage = FETCHING  # by who is at it
            else:
                ticket.handle, ticket.created = made, self._clock()
                ticket.stage = THERE
                if ticket.unwanted:
                    ticket.stage = ENDING
                    self._end(ticket)
        if ticket.handle:
            ticket.call.billed()
        self.soon()

    def awaited(self, ticket: Ticket, answer: Future[bytes]) -> None:
        """The place has a job now, and answers without being asked."""
        with self._table.lock:
            ticket.coming, ticket.stage = answer, AWAITED
            unwanted = ticket.unwanted
        answer.add_done_callback(lambda answer: self._answered(ticket, answer))
        if unwanted:
            answer.cancel()

    def later(self, ticket: Ticket, stage: str, seconds: float) -> None:
        """Go on with a job at some time, from some stage."""
        with self._table.lock:
            ticket.coming = None
            if ticket.unwanted:
                seconds = 0.0  # to find that out
            ticket.stage = stage
            ticket.due = self._clock() + seconds

    def soon(self) -> None:
        """Something has happened to a job: ask soon what else has."""
        with self._table.lock:
            self._rhythm.news()
            self._ask_at = min(self._ask_at, self._clock() + self._rhythm.next())
        self._bell.set()

    def lost(self, ticket: Ticket) -> None:
        """A job is over, and its answer is nowhere."""
        self._inquiry.lost(ticket)

    def error(self, ticket: Ticket, reason: str) -> Exception:
        """Return the error that says what is wrong with a job."""
        return self._inquiry.error(ticket, reason)

    def close(self) -> None:
        """Take no more jobs, and end when the last is over."""
        with self._table.lock:
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

    # -- for who waits for its end, with much patience but not for ever ------------

    def left(self) -> list[Ticket]:
        """Return the jobs that may run, of which the place doesn't know that they end."""
        # Some are off the table, and are being ended.
        works = [ticket for ticket in [*self._works.values()] if ticket is not None]
        several = [
            ticket
            for ticket in (*self._table.all(), *works)
            if ticket.stage in {CREATING, AWAITED, THERE, ENDING}
            and not (ticket.told or ticket.ended or ticket.abandoned)
        ]
        return [*dict.fromkeys([*several, *self._strays.all()])]

    def worth(self) -> float:
        """Return for how many more seconds its end is worth waiting for."""
        seconds = _SILENT if self.left() else _SETTLING
        return self._alive + seconds - self._clock()

    def give_up(self) -> None:
        """Wait no more for jobs that were told to end; say which were not told."""
        with self._table.lock:
            again, self._given_up = self._given_up, True
        self._bell.set()
        left = self.left()
        if left and not again:
            last = next((ticket.last for ticket in left if ticket.last), None)
            self._strays.warn(left, last or "it has not answered in time")

    # -- on the desk's thread ----------------------------------------------------

    def round(self) -> float | None:
        """Do what is due; return the seconds until the next round, None for no need."""
        now = self._clock()
        self._inquiry.overdue(now)
        self._launch(now)
        if now >= self._ask_at:
            if self._inquiry.ask(now):
                self._rhythm.news()
                self._launch(now)
            self._ask_at = now + self._rhythm.next()
        if self._follower.due(now):
            self._do(lambda _: self._follower.look(), None)
        # Those that are due already wait for a hand, which rings the bell.
        moments = [
            ticket.due
            for ticket in self._table.all(QUEUED, ANSWERED)
            if ticket.due > now
        ]
        # And who waits for room must not wait for too long.
        moments += map(self._inquiry.latest_start, self._table.all(QUEUED))
        if self._table.all(THERE, ENDING):
            moments.append(self._ask_at)
        moments.append(self._follower.next())
        if (ends := self._probe.ends(now)) is not None:
            moments.append(ends)
        first = min(moments, default=math.inf)
        return None if first == math.inf else max(0.0, first - self._clock())

    def _launch(self, now: float) -> None:
        """Have everything done that is due, as far as there are hands for it."""
        with self._table.lock:
            creating, awaited = self._table.all(CREATING), self._table.all(AWAITED)
            held = sum(map(self._weight, (*creating, *awaited)))
            # What is created must not keep what has answered waiting.
            room = min(
                _BACKLOG * self._place.hands - len(creating),
                self._place.at_once - len(creating) - len(awaited),
            )
            for ticket in self._table.all(QUEUED, ANSWERED):
                if ticket.due > now:
                    continue
                if ticket.stage == ANSWERED:
                    ticket.stage = FETCHING
                    self._do(self._clerk.finish, ticket)
                elif (
                    room > 0
                    and (not held or held + self._weight(ticket) <= _MOST)
                    and not self._probe.holds(ticket, now)
                ):
                    room -= 1
                    held += self._weight(ticket)
                    ticket.stage = CREATING
                    self._do(self._clerk.create, ticket)

    def _weight(self, ticket: Ticket) -> int:
        """Return how much is held for a job; what lies in the store its caller has."""
        return ticket.nbytes if self.papers.store is None else ticket.small

    def _answered(self, ticket: Ticket, answer: Future[bytes]) -> None:
        self._do(partial(self._clerk.answered, answer=answer), ticket)

    def _busy(self) -> bool:
        """Tell whether the crew does something that has to be waited for."""
        works = [*self._works.values()]
        return not all(ticket is not None and ticket.abandoned for ticket in works)

    def _done(self) -> bool:
        """Tell whether nothing is left to be waited for."""
        if self._given_up:
            for ticket in self._table.all(ENDING):
                if ticket.told and self.take(ticket):
                    ticket.call.cancelled("unconfirmed")
        return not self._table and not self._busy()

    def _serve(self) -> None:
        try:
            while True:
                self._bell.clear()
                if self._closing and self._done():
                    break
                self._bell.wait(self.round())
        except BaseException as error:
            log.exception("the jobs of %s are not looked after", self._place.name)
            for ticket in self._table.all():
                if self.take(ticket):
                    self._strays.add(ticket)
                    ticket.call.failed(error)
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._table.lock:
            self._closing = True
        left = self._strays.end()
        if left and not self._given_up:
            self._strays.warn(left)
        try:
            self.papers.close()
        except Exception:
            log.exception("what jobs of %s have left is not removed", self._place.name)
        try:
            self._place.closed()
        except Exception:
            log.exception("%s is not closed", self._place.name)
        self._crew.close()
        self._enders.close()
        self._over.set()

    def _discard(self, ticket: Ticket) -> None:
        over = ticket.told and ticket.ended is not None
        self._do(partial(self._clerk.discard, over=over), ticket)

    def _end(self, ticket: Ticket) -> None:
        self._ender.add(ticket)
        self._do(lambda _: self._ender.work(), None, self._enders)

    def _fail(self, ticket: Ticket, error: BaseException) -> None:
        """Fail a call whose job is off the table, and remove what is left of it."""

        def fail(ticket: Ticket) -> None:
            try:
                self._follower.last(ticket)
                for line in ticket.printed.said:
                    error.add_note(f"In its log: {line}")
            finally:
                ticket.call.failed(error)
            self._clerk.discard(ticket)

        self._do(fail, ticket)

    @overload
    def _do(self, work: Callable[[Ticket], None], ticket: Ticket) -> None: ...
    @overload
    def _do(
        self, work: Callable[[None], None], ticket: None, crew: Crew | None = None
    ) -> None: ...
    def _do(
        self,
        work: Callable[[Any], None],
        ticket: Ticket | None,
        crew: Crew | None = None,
    ) -> None:
        """Have the crew do something, for a job; the desk stays open until then."""
        token = object()

        def done() -> None:
            self._local.ours = True
            try:
                work(ticket)
            except BaseException as error:
                log.exception("job %s", ticket.resource if ticket else "")
                if ticket and self.take(ticket):
                    self._strays.add(ticket)
                    ticket.call.failed(error)
            finally:
                del self._works[token]
                self._bell.set()

        self._works[token] = ticket
        (crew or self._crew).run(done)
