"""Calls on the far side of byte streams: the class that authors of such places extend."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from entangle._pool import pool as pools
from entangle._pool.keys import prepare
from entangle._remote.crew import Crew
from entangle._remote.places import Terms, opened_for
from entangle._seam.executor import Capabilities, Executor
from entangle._worker import codec
from entangle.errors import UnpicklableError

from .arguments import payload
from .executors import Relayed, plain
from .nested_runs import NestedRuns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._remote.stream import Stream
    from entangle._seam.call import Call


class StreamExecutor(Executor):
    """Runs calls in any CPython 3.9 or newer that a duplex byte stream leads to.

    Nothing has to be installed there, nothing is written there, and no network is
    needed: the worker program travels over the stream. Subclasses implement `open`.
    Everything else comes with the class: workers that stay warm, each call in a process
    of its own, live output, cancelling and timeouts that end the process with all that
    it has started, large values, the caller's own modules.

    Args:
        places: How many places are opened, at most: one when a call needs it.
        calls: How many calls run in one place at once; None for as many as it has
            processors.
        once: Whether each place is given one call, and then closed.
        idle: Seconds after which a place that is not used is closed; None for what
            ``ENTANGLE_IDLE`` says, by default 10.
        trust: Whether the place is trusted with this account, as pickles are. If not,
            nothing that comes from it is unpickled: values arrive as plain data, errors
            as `TaskError`, returned nodes are refused.

    Attributes:
        idle: As the argument; read at the first call.
        silence: Seconds that a place may take to answer when a call there is to be
            ended; then the place is.
        patience: Seconds that a place may take from being opened until it takes calls;
            then those that wait for it fail with `ProcessTimeoutException`, for which
            ``start=`` of a task gives less.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kill=True, started=True, process=True, fresh=True, output=True
    )
    silence: ClassVar[float] = 0.7
    patience: ClassVar[float] = 600.0

    def __init__(
        self,
        *,
        places: int = 1,
        calls: int | None = None,
        once: bool = False,
        idle: float | None = None,
        trust: bool = True,
    ) -> None:
        super().__init__()
        self.check_terms(places=places, calls=calls, idle=idle)
        self.idle = idle
        self.__settings = places, calls, once, trust
        self.__lock = threading.Lock()
        self.__crew: Crew | None = None
        self.__relays: dict[Call, Relayed] = {}
        self.__shut = False

    @staticmethod
    def check_terms(
        *, places: int = 1, calls: int | None = None, idle: float | None = None
    ) -> None:
        """Refuse settings that make no sense, for a `check_options` of the author's.

        Raises:
            ValueError: there is one; says which.
        """
        for name, number in (("places", places), ("calls", calls)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
        if idle is not None and not idle >= 0:
            raise ValueError(f"idle must be a number of seconds, not {idle}")

    @abstractmethod
    def open(self, command: Sequence[str]) -> Stream:
        """Start a Python in a place and return the stream to it.

        Called on a thread of its own, maybe several at once; it may take its time, and
        raise what the caller should see.

        Args:
            command: What to run there: a Python and its arguments, ``python3`` first.
        """

    @property
    def opened_for(self) -> Call | None:
        """In `open`: the call that the place is first needed for; else None.

        Others will run there later. It is for names and labels.
        """
        return opened_for.get()

    def unwanted(self) -> None:
        """Have each `open` that goes on now return or raise soon.

        Nobody waits for it any more: the calls were cancelled, or the executor is shut
        down. Called on a thread of its own. An `open` that begins later is wanted. By
        default nothing is done, and what is opened is ended when it is there.
        """

    @property
    def label(self) -> str:
        """What the place is called in messages; by default the name of the class."""
        return type(self).__name__

    def start(self, call: Call) -> None:
        """Encode the call and queue it.

        Raises:
            UnpicklableError: the function or an argument can't be sent.
            RuntimeError: after `shutdown`.
        """
        crew = self.__our_crew()
        pool = crew.pool
        try:
            shipped = pool.shipper.ship(call.function)
        except codec.EncodeError as error:
            raise UnpicklableError(
                path=error.path, reason=error.reason, node=call.name
            ) from error
        packed = None
        if not plain(call):
            # Memory of this machine is of no use there.
            args, kwargs = call.args, call.kwargs
            packed = payload(args, kwargs, call.function, call.name, shared=False)
        snapshot = pool.snapshots.now()
        prepared = prepare(call.options, shipped, snapshot, pool, call.name)
        prepared = prepared._replace(payload=packed)
        relayed = Relayed(call, pool, self.__over, crew)
        with self.__lock:
            self.__relays[call] = relayed
        pool.hub.post(relayed.begin, prepared)
        pool.hub.attend()
        if pool.hub.stopped and call in self.__relays:
            relayed.cancelled("already done")  # shutdown() was faster

    def cancel(self, call: Call, grace: float) -> None:
        """End the call's process with all that it started."""
        del grace
        with self.__lock:
            relayed = self.__relays.get(call)
        if relayed is not None:
            relayed.give_up()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base class
        """Take no more calls; close the places when the last call is over.

        Args:
            wait: Return when all that is done.
            cancel_futures: Cancel the calls of `submit` that have not begun.
        """
        with self.__lock:
            self.__shut = True
            crew = self.__crew
        super().shutdown(wait, cancel_futures=cancel_futures)
        if crew is None or crew.pool.hub.stopped:
            return
        crew.pool.hub.post(lambda: crew.close(now=False))
        crew.pool.hub.attend()
        if wait:
            while not crew.closed.wait(0.05) and not crew.pool.hub.stopped:
                pass

    @property
    def __entangle_idle__(self) -> float | None:
        """How long one that was made for a decorator is kept, if that is said."""
        return self.idle

    def __our_crew(self) -> Crew:
        """Return the places, made anew for a new pool."""
        pool = pools.get()
        with self.__lock:
            if self.__shut:
                raise RuntimeError("cannot schedule new calls after shutdown")
            if self.__crew is None or self.__crew.pool is not pool:
                places, calls, once, trust = self.__settings
                terms = Terms(
                    self.label,
                    places,
                    1 if once else calls,
                    once,
                    pool.idle if self.idle is None else self.idle,
                    trust,
                    self.silence,
                    self.patience,
                )
                self.__crew = Crew(pool, terms, self, NestedRuns(pool))
            crew = self.__crew
        crew.look_around()
        return crew

    def __over(self, call: Any) -> None:
        with self.__lock:
            self.__relays.pop(call, None)


def is_plain(executor: object) -> bool:
    """Tell whether an executor's calls may go to its places directly."""
    if not isinstance(executor, StreamExecutor):
        return False
    kind = type(executor)
    return kind.start is StreamExecutor.start and kind.cancel is StreamExecutor.cancel


def crew_of(executor: StreamExecutor) -> Crew:
    """Return the places of an executor.

    Raises:
        RuntimeError: after its `shutdown`.
    """
    return _our_crew(executor)


# By a name that no subclass can have for something else.
_our_crew: Callable[[StreamExecutor], Crew] = vars(StreamExecutor)[
    "_StreamExecutor__our_crew"
]
