"""An executor whose calls are jobs: created somewhere, asked after, fetched, deleted."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from entangle._seam.executor import Capabilities, Executor

from .packing import check_secrets, pack
from .rhythm import Pace
from .ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from entangle._seam.call import Call
    from entangle._seam.extensions import Leftover

    from .desk import Desk
    from .job import FoundJob, Job, JobState, LogPiece
    from .store import Store


DAY = 86_400.0


class JobExecutor(Executor):
    """Runs each call as a job of a place that takes jobs and is asked after them.

    A subclass says how a job is created, asked after, deleted and found; where
    payloads and answers lie, its `store` says. Everything else comes with this class:
    the program that the job runs, in any Python from 3.9 on with nothing installed;
    what it sends back, signed with a key that only the job has; one thread that asks
    after all jobs; retries; starts, timeouts, output, and the ends of calls.

    The methods that a subclass implements are called on threads that may wait, several
    at once. They raise what the caller should see: an `EntangleError` as it is, any
    other as the reason of a `JobError`; and `PlaceBusyError` where the place takes no
    more at the moment: then the job is created later.

    One that declares `Capabilities.output` implements `log`, too: then what calls print
    is told while they run. Else it is told when they are over.

    Args:
        lifetime: Seconds after which a job has to be over, and whatever was made for
            it may be removed by anybody. Addresses are good for so long.

    Attributes:
        inline_bytes: How large a `Job.payload` with a whole call in it may be, key and
            all: only where `create` hands it to the job and nobody else sees it. 0 to
            have every call lie in the store.
        has_program: Whether jobs have the program already, and are only to be told
            where their calls lie.
        batch: How many handles `poll` takes at once.
        hands: How many threads call `create`, `fetch` and `delete`.
        end_batch: How many handles `end` takes at once.
        enders: How many threads call `end`.
        at_once: How many jobs are created at most whose answers `create` returns, or
            returns futures of.
        pace: How often it is asked.
        patience: Seconds that a job may exist without having begun; then it is ended,
            and its call fails. A task's ``start=`` takes its place.
        python: The version of the place's Python. None if it is not known: then one
            of the calls that only the right version can take finds out, and the others
            wait for that, for a minute at most. One that was sent in vain is sent
            again, by source; so what is said here may be a guess.
        plugin: The name of the plugin whose sweep finds its jobs, for messages.
        clock: The time in seconds, for all that waits.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kill=True, started=True, process=True, fresh=True
    )
    inline_bytes: ClassVar[int] = 0
    has_program: ClassVar[bool] = False
    batch: ClassVar[int] = 100
    hands: int = 8
    end_batch: ClassVar[int] = 1
    enders: int = 20
    at_once: int = 500
    pace: ClassVar[Pace] = Pace()
    patience: ClassVar[float] = 3600.0
    python: tuple[int, int] | None = None
    plugin: ClassVar[str] = ""
    clock = staticmethod(time.monotonic)

    def __init__(self, *, lifetime: float = DAY) -> None:
        super().__init__()
        if lifetime <= 0:
            raise ValueError(f"lifetime must be more than 0 seconds, not {lifetime:g}")
        self.__lifetime = lifetime
        self.__desk: Desk | None = None
        self.__guard = threading.Lock()
        self.__closed = False

    # -- for authors ---------------------------------------------------------------

    @abstractmethod
    def create(self, job: Job) -> str | bytes | Future[bytes]:
        """Make a job, carrying its tags.

        Returns:
            A handle, by which any process can ask after the job and delete it; or,
            where the place runs the job while it is waited for, the answer, or a
            future of it: so many wait with few threads. What that raises counts as
            raised here; it is cancelled when nobody wants it any more.

        Raises:
            PlaceBusyError: There is no room now.
        """

    @abstractmethod
    def poll(self, handles: Sequence[str]) -> Mapping[str, JobState]:
        """Say how jobs are, in as few requests as can be.

        Args:
            handles: At most `batch` of them.

        Returns:
            By handle. Those that are left out are unknown to the place: what it has
            just taken it may not know yet.
        """

    @abstractmethod
    def delete(self, handle: str, *, over: bool) -> bool:
        """End a job, if it still runs, and remove what the place keeps of it.

        A job that is not there is no error.

        Args:
            handle: The job.
            over: Its answer is there, or it has ended as it was told: nothing of it has to
                be ended.

        Returns:
            Whether nothing of it runs any more; False if its end will be seen by
            `poll`.
        """

    @abstractmethod
    def find(self) -> Iterable[FoundJob]:
        """Find all jobs of the place that carry tags of Entangle's, whoever made them."""

    def log(self, cursors: Mapping[str, str]) -> Mapping[str, LogPiece]:
        """Return what jobs have printed lately: for places that keep a log of them.

        Their programs number the lines in it, so it may tell some again, or out of
        order, or miss some: all are told in order, once, and what is missing when the
        call is over.

        Args:
            cursors: By handle, what the last piece of its log has said; empty for one
                from the beginning. At most `batch` of them, which have begun.

        Returns:
            By handle. Those of which it knows nothing new may be left out.
        """
        del cursors
        return {}

    def end(self, handles: Sequence[str]) -> Mapping[str, bool]:
        """End jobs whose calls were cancelled, in as few requests as can be.

        By default each by `delete`. A place whose requests name many jobs overrides it,
        and says in `end_batch` how many.

        Args:
            handles: At most `end_batch` of them.

        Returns:
            By handle, what `delete` returns. False may be left out.

        Raises:
            PlaceBusyError: It has too much to do now: it is told again, soon.
        """
        return {handle: self.delete(handle, over=False) for handle in handles}

    def store(self) -> Store | None:
        """Return where payloads and answers lie.

        None where all that is sent is smaller than `inline_bytes`, and `create` or
        `fetch` return the answers.
        """
        return None

    def fetch(self, handle: str, key: str) -> bytes:
        """Return the answer of a job that has ended, or has answered.

        Args:
            handle: The job.
            key: Under which its program has put it into the store.

        Raises:
            KeyError: There is none.
        """
        del handle
        found = self.__open().papers.store
        if found is None:
            raise KeyError(key)
        return found.get(key)

    def closed(self) -> None:
        """Let go of what was opened: called once, when the last job is over."""

    @property
    def name(self) -> str:
        """What the place is called in messages."""
        return type(self).__name__.lower().removesuffix("executor")

    # -- for the framework -----------------------------------------------------------

    def start(self, call: Call) -> None:
        """Queue a job for the call.

        Raises:
            UnpicklableError: The function or an argument can't be sent.
            RuntimeError: After `shutdown`.
        """
        packed = pack(call, self.python, self.name)
        check_secrets(packed, call.name)
        desk = self.__open()
        session = desk.papers.session
        ticket = Ticket(
            call, packed, session.run_of(call), session.next_name(), self.clock()
        )
        desk.submit(ticket)

    def cancel(self, call: Call, grace: float) -> None:
        """Have the call's job ended."""
        del grace
        desk = self.__desk
        if desk is not None:
            desk.cancel(call)

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as in the base class
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls; when the last is over remove all that was made for them.

        Args:
            wait: Return when all of that is done. In a callback of one of its calls it
                returns at once.
            cancel_futures: Cancel the calls of `submit` that are not over.
        """
        with self.__guard:
            unused = self.__desk is None and not self.__closed
            self.__closed = True
            desk = self.__desk
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if desk is not None:
            desk.close()
            if wait:
                desk.join()
        elif unused:
            self.closed()

    @property
    def __entangle_ending__(self) -> Desk | None:
        """Who knows at the end of the program what is worth waiting for."""
        return self.__desk

    def leftovers(self, older_than: float = 0.0) -> Iterator[Leftover]:
        """Find what is nobody's any more: for the hook ``entangle_sweep``.

        That is what carries the tags of a process that is known to be gone, or an
        expiry that has passed.

        Args:
            older_than: Only what is older than so many seconds.
        """
        from . import sweeping

        yield from self.leftover_jobs(older_than)
        found = self.store()
        if found is not None:
            yield from sweeping.objects(found, older_than)

    def leftover_jobs(self, older_than: float = 0.0) -> Iterator[Leftover]:
        """Find the jobs alone that are nobody's any more; see `leftovers`."""
        from . import sweeping

        delete = partial(self.delete, over=False)
        yield from sweeping.jobs(self.find(), older_than, delete)

    def __open(self) -> Desk:
        with self.__guard:
            if self.__desk is None:
                if self.__closed:
                    raise RuntimeError("cannot start calls after shutdown")
                from .desk import Desk
                from .papers import Papers
                from .session import Session

                papers = Papers(
                    Session(self.__lifetime),
                    self.store(),
                    self.name,
                    has_program=self.has_program,
                    numbered=self.capabilities.output,
                )
                self.__desk = Desk(self, papers, self.clock)
            return self.__desk
