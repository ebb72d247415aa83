"""What is done for one job by a thread that may wait for the place."""

from __future__ import annotations

import random
import time
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Final

from entangle._log import Log
from entangle.errors import EntangleError, PlaceBusyError, UntrustedResultError

from . import program
from .answers import opened
from .inquiry import PATIENCE
from .job import Job
from .packing import check_secrets, pack
from .ticket import ANSWERED, QUEUED, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._seam.call import Call

    from .answers import Answer
    from .desk import Desk
    from .executor import JobExecutor
    from .packing import Packed
    from .papers import Papers
    from .strays import Strays

log = Log("entangle.jobs")

_TRIES: Final = 6
_PAUSE: Final = 0.25  # seconds before the second try; doubled each time
_LONGEST: Final = 30.0


def pause(troubles: int) -> float:
    """Return for how many seconds to wait after so many failures in a row.

    By chance up to half as long: who was refused together must not come together again.
    """
    longest = min(_PAUSE * 2.0 ** min(troubles, 10), _LONGEST)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Clerk:
    """Creates, fetches and removes single jobs for a desk. Thread-safe."""

    def __init__(
        self,
        place: JobExecutor,
        papers: Papers,
        desk: Desk,
        strays: Strays,
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._papers = papers
        self._desk = desk
        self._strays = strays
        self._clock = clock
        self._warned = False

    def create(self, ticket: Ticket) -> None:
        """Have the place make a job, or try again later."""
        desk = self._desk
        if self._given_up(ticket):
            return
        try:
            self._fit(ticket)
            job = self._job(ticket)
            if self._given_up(ticket):
                self.remove_papers(ticket)
                return
            made = self._place.create(job)
        except Exception as error:
            self._refused(ticket, error)
        else:
            if isinstance(made, Future):
                desk.awaited(ticket, made)
            else:
                self._created(ticket, made)

    def answered(self, ticket: Ticket, answer: Future[bytes]) -> None:
        """The place has answered without being asked, or refuses after all."""
        try:
            made = answer.result()
        except CancelledError:
            if not ticket.unwanted:
                given_up = self._desk.error(ticket, "its place has given it up")
                self._refused(ticket, given_up)
            elif self._desk.take(ticket):
                ticket.call.cancelled("killed")
            self.remove_papers(ticket)
        except Exception as error:
            self._refused(ticket, error)
        else:
            self._created(ticket, made)

    def finish(self, ticket: Ticket) -> None:
        """Fetch a job's answer, report it, and remove what is left of the job."""
        try:
            answer = self._fetched(ticket)
        except UntrustedResultError as error:
            if self._desk.take(ticket):
                ticket.call.failed(error)
            self.discard(ticket)
            return
        except KeyError:
            if ticket.ended is None:
                self._fetch_later(ticket, LookupError("it is not there"))
            else:
                self._desk.lost(ticket)
            return
        except Exception as error:
            self._fetch_later(ticket, error)
            return
        self._warned = False
        # First: others may wait for that, as long as this one is not over.
        if answer.other_version is not None:
            self._place.python = answer.other_version
        elif self._place.python is None and answer.right_version:
            self._place.python = ticket.version
        if self._desk.take(ticket):
            if answer.other_version is not None:
                self._again(ticket, answer.other_version)
            else:
                self._tell(ticket, answer)
            self.discard(ticket, over=True)

    def discard(self, ticket: Ticket, *, over: bool = False) -> None:
        """Remove what is left of a job that nobody waits for."""
        try:
            if ticket.handle:
                self._delete(ticket, over=over)
        except Exception as error:
            log.warning(
                "%s of %s is left: %s", ticket.resource, self._place.name, error
            )
            if not over:
                self._strays.add(ticket)
        self.remove_papers(ticket)

    def _created(self, ticket: Ticket, made: str | bytes) -> None:
        self._desk.created(ticket, made)
        if ticket.answer is not None:
            self.finish(ticket)

    def _refused(self, ticket: Ticket, error: Exception) -> None:
        """A place has not made a job: for now, or for good."""
        if isinstance(error, PlaceBusyError):
            ticket.last = error
            ticket.troubles += 1
            self._desk.later(ticket, QUEUED, pause(ticket.troubles))
            return
        failure: BaseException = error
        if not isinstance(error, EntangleError):
            failure = self._desk.error(ticket, f"it can't be made: {error}")
            failure.__cause__ = error
        if self._desk.take(ticket):
            ticket.call.failed(failure)
        self.remove_papers(ticket)

    def _delete(self, ticket: Ticket, *, over: bool) -> None:
        """Have the place end a job, though it may have too much to do at the moment."""
        for troubles in range(1, _TRIES):
            try:
                self._place.delete(ticket.handle, over=over)
            except PlaceBusyError:
                time.sleep(pause(troubles))
            else:
                return
        self._place.delete(ticket.handle, over=over)

    def _job(self, ticket: Ticket) -> Job:
        session = self._papers.session
        ticket.expires = time.time() + session.lifetime
        payload = self._papers.payload(ticket, self._place.inline_bytes)
        return Job(
            name=ticket.name,
            task=ticket.call.name,
            payload=payload,
            command=("-c", program.BOOTSTRAP),
            environment={program.VARIABLE: payload.decode()},
            tags=session.tags(ticket.run, ticket.call.name, ticket.expires),
            expires=ticket.expires,
            options=ticket.call.options,
            answer_key=self._papers.answer_key(ticket),
        )

    def _fit(self, ticket: Ticket) -> None:
        """Encode a call anew if it was for another version of Python than it turns out.

        Raises:
            UnpicklableError: It can't be sent any more.
            VersionMismatchError: It can't be sent to that version.
        """
        version = self._place.python
        if version is not None and ticket.version not in {None, version}:
            ticket.packed = self._packed(ticket.call, version)
            ticket.nbytes, ticket.version = ticket.packed.nbytes, version

    def _packed(self, call: Call, version: tuple[int, int]) -> Packed:
        packed = pack(call, version, self._place.name)
        check_secrets(packed, call.name)
        return packed

    def _given_up(self, ticket: Ticket) -> bool:
        if not ticket.unwanted:
            return False
        if self._desk.take(ticket):
            ticket.call.cancelled("already done")
        return True

    def _fetched(self, ticket: Ticket) -> Answer:
        data = ticket.answer
        if data is None:
            key = self._papers.answer_key(ticket)
            data = self._place.fetch(ticket.handle, key)
        about = (ticket.call.name, self._place.name, ticket.resource)
        return opened(data, ticket.run, ticket.name, ticket.attempt, about=about)

    def _again(self, ticket: Ticket, version: tuple[int, int]) -> None:
        """Send a call again that was for another version of Python."""
        session = self._papers.session
        try:
            packed = self._packed(ticket.call, version)
            made = Ticket(
                ticket.call, packed, ticket.run, session.next_name(), ticket.given
            )
            self._desk.submit(made, again=True)
        except Exception as error:
            ticket.call.failed(error)

    def _tell(self, ticket: Ticket, answer: Answer) -> None:
        call = ticket.call
        if call.wants_start and not ticket.begun:
            call.started()
        ticket.printed.answered(answer)
        try:
            answer.tell(call, self._place.name, ticket.resource)
        except BaseException as error:
            call.failed(error)

    def _fetch_later(self, ticket: Ticket, error: Exception) -> None:
        """Try again, or say where the answer lies."""
        now = self._clock()
        if ticket.unfetched is None:
            ticket.unfetched = now
        ticket.troubles += 1
        # Credentials may be renewed meanwhile; what is not there will not come.
        waits = not isinstance(error, LookupError) and now - ticket.unfetched < PATIENCE
        if ticket.troubles < _TRIES or waits:
            refused = isinstance(error, EntangleError)
            refused = refused and not isinstance(error, PlaceBusyError)
            if waits and refused and not self._warned:
                self._warned = True
                log.warning(
                    "an answer of %s can't be fetched: %s; it is tried again for %g s",
                    self._place.name,
                    error,
                    PATIENCE,
                )
            self._desk.later(ticket, ANSWERED, pause(ticket.troubles))
        elif self._desk.take(ticket):
            where = self._papers.where(ticket)
            self._papers.keep(ticket)
            reason = f"it has answered, but that can't be fetched: {error}"
            if where:
                reason += f"; until a sweep it is left in {where}"
            failure = self._desk.error(ticket, reason)
            failure.__cause__ = error
            ticket.call.failed(failure)

    def remove_papers(self, ticket: Ticket) -> None:
        """Remove what a job alone has read and written."""
        try:
            self._papers.discard(ticket)
        except Exception as error:
            log.warning("papers of %s are left: %s", ticket.resource, error)
