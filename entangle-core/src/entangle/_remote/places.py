"""The places of one executor: opened when more are needed, closed when unused."""

from __future__ import annotations

import sys
import threading
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from entangle._log import Log
from entangle.errors import one_line

from . import bootstrap, endings
from .host import PlaceHost
from .stream import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from entangle._pool.hub import Hub, Timer
    from entangle._pool.jobs import Job
    from entangle._pool.line import Line
    from entangle._seam.call import Call

    from .stream import Stream
    from .worker import FarWorker

log = Log("entangle.remote")

STALE = 1.0  # seconds of silence after which an unused place is asked before it is used
_ASIDE = 2  # calls that may wait there for others, however little room there is
_SLOW = 1.0  # seconds that a stream may take to say how it has ended


class Terms(NamedTuple):
    """What a stream executor's places are like.

    Attributes:
        label: What they are called in messages.
        places: How many there are, at most.
        calls: How many calls one runs at once; None for as many as it has processors.
        once: Whether each runs one call alone.
        idle: Seconds after which an unused one is closed.
        trust: Whether pickles of theirs are decoded.
        silence: Seconds that one may take to answer when a worker is to be ended.
        patience: Seconds that one may take from being opened to its answer.
    """

    label: str
    places: int
    calls: int | None
    once: bool
    idle: float
    trust: bool
    silence: float
    patience: float


class Owner(Protocol):
    """Who uses the places; told inside the monitor."""

    def said(
        self, host: PlaceHost, kind: int, number: int, content: memoryview
    ) -> None:
        """A packet has come."""

    def lost(
        self, jobs: list[Job], why: BaseException | str | None, ended: Ended
    ) -> None:
        """A place is gone, and these calls with it."""

    def none_opens(self, error: BaseException) -> None:
        """No place is there, and none could be opened."""

    def none_answers(self, seconds: float) -> None:
        """No place is there, and none has answered in time."""

    def wanted(self) -> bool:
        """Tell whether calls wait."""
        ...

    def all_gone(self) -> None:
        """No place is left, nor one being opened or closed."""


class Opener(Protocol):
    """Who opens places; on threads for that."""

    def open(self, command: Sequence[str]) -> Stream:
        """Open one; it may block."""
        ...

    def unwanted(self) -> None:
        """Have what is being opened return or raise soon."""


opened_for: ContextVar[Call | None] = ContextVar("entangle_opened_for", default=None)
"""The call that the place which this thread opens is first needed for."""


class Opening:
    """A place that does not take calls yet."""

    def __init__(self, call: Call) -> None:
        self.call = call  # that it is first needed for
        self.given_up = False  # whether nobody waits for it
        self.host: PlaceHost | None = None  # once there is a stream
        self.deadline: Timer | None = None


class Places:
    """Opens and closes places. Inside the monitor only.

    Attributes:
        hosts: Those that are open, also those that have not answered yet.
    """

    def __init__(
        self,
        hub: Hub,
        terms: Terms,
        opener: Opener,
        owner: Owner,
    ) -> None:
        self.hosts: list[PlaceHost] = []
        self._hub = hub
        self._terms = terms
        self._opener = opener
        self._owner = owner
        self._openings: set[Opening] = set()  # without a stream yet
        self._given_up = 0  # of those that nobody waits for, and that are not over
        self._closing = 0  # streams that are being closed, on threads
        self._failed = False  # whether one could not be opened
        self._untold = 0  # that have ended without an answer, and were not told of
        self._ended = False  # whether none is opened any more
        self._trimming = False

    def __iter__(self) -> Iterator[PlaceHost]:
        return iter(list(self.hosts))

    def workers(self) -> Iterator[FarWorker]:
        """Yield all workers."""
        for host in self.hosts:
            yield from host.workers.values()

    def room(self, host: PlaceHost) -> int:
        """Return how many calls more a place takes."""
        if host.hello is None or host.over or host.asked:
            return 0
        if self._terms.once and host.used:
            return 0
        return (self._terms.calls or host.hello.cpus) - host.busy + host.aside

    def _of_use(self) -> int:
        """Return how many places take calls, or will.

        Not those for one call whose call waits for others.
        """
        return sum(not (self._terms.once and host.aside) for host in self.hosts)

    def roomiest(self) -> PlaceHost | None:
        """Return the place that takes the most calls more; None if none takes any."""
        best, most = None, 0
        for host in self:
            if not host.busy and host.hello is not None:
                # It may have ended while nobody needed it.
                host.look()
                if not host.over and time.monotonic() - host.heard > STALE:
                    host.expect_answer()
            room = self.room(host)
            if room > most:
                best, most = host, room
        return best

    def crowd(self) -> int:
        """Return how many more calls than there should be wait for others there."""
        aside = 0
        room = self._terms.places if self._terms.once else 0
        for host in self.hosts:
            aside += host.aside
            if host.hello is not None and not self._terms.once:
                room += self._terms.calls or host.hello.cpus
        return aside - max(_ASIDE, 2 * room)

    # -- opening -----------------------------------------------------------------

    def open_for(self, waiting: Line) -> None:
        """Open as many more places as help calls that wait."""
        if self._failed and self._of_use():
            return  # one more was not to be had: those that are there have to do
        if self._untold:
            return  # who waits may be told that none can be opened
        going_on = len(self._openings)
        unready = sum(host.hello is None or host.asked for host in self.hosts)
        coming = going_on + unready
        room = self._terms.places - self._of_use() - going_on
        more = min(room, waiting.size() - coming)
        if more <= 0:
            return
        for job in waiting.jobs()[coming : coming + more]:
            opening = Opening(job.call)
            self._openings.add(opening)
            late = partial(self._late, opening)
            until = time.monotonic() + self._terms.patience
            opening.deadline = self._hub.at(until, late)
            threading.Thread(
                target=self._open, args=(opening,), name="entangle-opening", daemon=True
            ).start()

    def _open(self, opening: Opening) -> None:
        """Open one place; on a thread of its own."""
        command, marker = bootstrap.command()
        stream: Stream | None = None
        error: BaseException | None = None
        # What the place will most likely need is made while it starts.
        tag = sys.implementation.cache_tag or ""
        ahead = threading.Thread(target=bootstrap.payload, args=(tag,), daemon=True)
        # That takes longer, and only some places need it.
        further = threading.Thread(
            target=partial(bootstrap.payload, tag, library=False),
            name="entangle-ahead",
            daemon=True,
        )
        try:
            ahead.start()
            further.start()
            opened_for.set(opening.call)
            stream = self._opener.open(command)
            ahead.join()
        except BaseException as trouble:
            error = trouble
        self._hub.post(self._opened, opening, stream, marker, error)
        self._hub.attend()
        if self._hub.stopped and stream is not None:
            stream.kill()

    def _opened(
        self,
        opening: Opening,
        stream: Stream | None,
        marker: bytes,
        error: BaseException | None,
    ) -> None:
        self._openings.discard(opening)
        self._given_up -= opening.given_up
        if stream is not None and opening.given_up:
            self._dispose(stream.kill)
        elif stream is not None:
            try:
                host = PlaceHost(self._hub, stream, marker, self, self._terms.silence)
                opening.host, host.deadline = host, opening.deadline
                host.start()
            except Exception as trouble:
                error = trouble
                self._dispose(stream.kill)
            else:
                self.hosts.append(host)
                if self._ended or not self._owner.wanted():
                    self.end(host, kill=True)
        if error is not None and not opening.given_up:
            if opening.deadline is not None:
                opening.deadline.cancel()
            self._not_opened(error)
        self._tell_if_gone()

    def _late(self, opening: Opening) -> None:
        """Give a place up that still takes no calls."""
        host = opening.host
        if host is not None:
            if host.hello is not None or host.over:
                return
            self.end(host, kill=True)
        elif opening.given_up:
            return
        else:
            self._give_up([opening])
        self._failed = True
        if not self._of_use() and not self._openings:
            self._owner.none_answers(self._terms.patience)
        self._tell_if_gone()

    def _not_opened(self, error: BaseException) -> None:
        self._failed = True
        if self._of_use() or self._openings:
            log.warning("%s: a place can't be opened: %s", self._terms.label, error)
        else:
            self._owner.none_opens(error)

    def give_up_opening(self) -> None:
        """End places that have not answered yet: nobody waits for them any more."""
        for host in self:
            if host.hello is None:
                self.end(host, kill=True)
        self._give_up(list(self._openings))

    def _give_up(self, openings: list[Opening]) -> None:
        for opening in openings:
            opening.given_up = True
            if opening.deadline is not None:
                opening.deadline.cancel()
        self._openings.difference_update(openings)
        self._given_up += len(openings)
        if openings and not self._openings:
            self._dispose(self._opener.unwanted)

    # -- closing -----------------------------------------------------------------

    def relieved(self, host: PlaceHost) -> None:
        """A place has one call less to run."""
        if host.over:
            return
        if self._terms.once:
            self.end(host, kill=False)
        elif not host.busy:
            self._rest(host)

    def _rest(self, host: PlaceHost) -> None:
        """Note that a place has nothing to do, and close it in a while."""
        host.idle_since = time.monotonic()
        if not self._trimming:
            self._trimming = True
            self._hub.at(host.idle_since + self._terms.idle, self._trim)

    def _trim(self) -> None:
        self._trimming = False
        now = time.monotonic()
        oldest = None
        for host in self:
            if host.hello is None or host.busy:
                continue  # it comes here again when it has rested
            if now - host.idle_since >= self._terms.idle:
                self.end(host, kill=False)
            elif oldest is None or host.idle_since < oldest:
                oldest = host.idle_since
        if oldest is not None:
            self._trimming = True
            self._hub.at(oldest + self._terms.idle, self._trim)

    def end(self, host: PlaceHost, *, kill: bool) -> None:
        """End a place in good order, or at once."""
        host.stop()
        self.hosts.remove(host)
        self._dispose(host.stream.kill if kill else host.stream.close)

    def end_all(self) -> None:
        """End all places, and open no more; `Owner.all_gone` tells when it is done."""
        self._ended = True
        self.give_up_opening()
        for host in self:
            self.end(host, kill=bool(host.busy))
        self._tell_if_gone()

    def _dispose(self, end: Callable[[], None]) -> None:
        """End a stream on a thread of its own: it may take long, or raise."""
        self._closing += 1

        def dispose() -> None:
            try:
                end()
            except BaseException as error:
                log.warning("%s: it can't be ended: %s", self._terms.label, error)
            self._hub.post(self._disposed)
            self._hub.attend()
            if self._hub.stopped:
                self._disposed()

        threading.Thread(target=dispose, name="entangle-ending", daemon=True).start()

    def _disposed(self) -> None:
        self._closing -= 1
        self._tell_if_gone()

    def _tell_if_gone(self) -> None:
        going_on = self._openings or self._given_up or self._closing
        if self._ended and not self.hosts and not going_on:
            self._owner.all_gone()

    # -- what hosts tell ---------------------------------------------------------

    def host_ready(self, host: PlaceHost) -> None:
        """It has said what it is, and takes calls."""
        self._failed = False
        self._rest(host)

    def host_said(
        self, host: PlaceHost, kind: int, number: int, content: memoryview
    ) -> None:
        """A packet has come."""
        self._owner.said(host, kind, number, content)

    def host_ended(self, host: PlaceHost, why: BaseException | str | None) -> None:
        """A place is gone, or of no use any more: ask its stream why, then tell."""
        self.hosts.remove(host)
        self._untold += host.hello is None
        lost = [job for worker in host.workers.values() for job in worker.outstanding]
        told = threading.Event()

        def tell(ended: Ended) -> None:
            if told.is_set():
                return  # it was too slow to say
            told.set()
            self._owner.lost(lost, why, ended)
            if host.hello is None:
                self._untold -= 1
                error = endings.before_answer(self._terms.label, host, why, ended)
                self._not_opened(error)

        def end() -> None:
            ended = Ended()
            if why is None or isinstance(why, OSError):
                try:
                    ended = host.stream.ended()
                except BaseException as error:
                    ended = Ended(detail=one_line(error))
            self._hub.post(tell, ended)
            self._hub.attend()
            host.stream.kill()

        self._hub.at(time.monotonic() + _SLOW, partial(tell, Ended()))
        self._dispose(end)
