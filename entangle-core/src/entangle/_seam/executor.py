"""The places where calls run.

An `Executor` starts calls and tells each `Call` what becomes of it. Every executor is
a `concurrent.futures.Executor` too, so it works wherever Python takes one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from entangle._graph.callables import is_async
from entangle._graph.options import Options
from entangle._graph.task import Task
from entangle._log import Log

from .call import Call, printed

if TYPE_CHECKING:
    from collections.abc import Callable


log = Log("entangle.run")


class Capabilities(NamedTuple):
    """What an executor honours; what it doesn't is refused, never ignored.

    Attributes:
        kill: A running call can be ended, so ``timeout=`` holds.
        started: It tells when a body is entered, so ``start=`` and ``wait=`` of
            consumers are exact.
        process: Calls run in a process of their own: ``env=``, ``cwd=``, ``nice=``.
        fresh: It can give a call a process that has run nothing before.
        cpus: It can set CPUs aside for a call.
        shared_objects: Calls get the very objects of the caller, not copies.
        output: What a call prints is passed on to the caller while it runs.
        concurrent: Several calls run at once.
        shared_memory: It gives functions ``smm`` and ``sm``, memory that the tasks of
            a run share.
        paid: Calls cost money there. Under ``budget(usd=)`` those are refused whose
            price no plugin tells; elsewhere what has no price is free.
    """

    kill: bool = False
    started: bool = False
    process: bool = False
    fresh: bool = False
    cpus: bool = False
    shared_objects: bool = False
    output: bool = False
    concurrent: bool = True
    shared_memory: bool = False
    paid: bool = False


class Executor(concurrent.futures.Executor):
    """Runs calls somewhere.

    Subclasses implement `start` and `cancel`; `submit`, `map` and `shutdown` are
    derived from them. What this class keeps for itself has mangled names: subclasses
    are free to use any.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self) -> None:
        self.__lock = threading.Lock()
        self.__futures: set[concurrent.futures.Future[Any]] = set()
        self.__shut = False

    @abstractmethod
    def start(self, call: Call) -> None:
        """Begin to run a call and return soon; its end is reported to it.

        May raise: the call has failed with that exception then.
        """

    @abstractmethod
    def cancel(self, call: Call, grace: float) -> None:
        """End a started call and return soon; the call is told how it went.

        Args:
            call: What was given to `start`; one that is over already is ignored.
            grace: Seconds until nobody waits for the answer any more.
        """

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Run ``fn(*args, **kwargs)``; see `concurrent.futures.Executor.submit`.

        Of a task its function is run; what its decorators say is for graphs.

        Raises:
            RuntimeError: after `shutdown`.
        """
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self.__lock:
            if self.__shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self.__futures.add(future)
        function = fn.fn if isinstance(fn, Task) else fn
        call = _FutureCall(self, self.__discard, future, function, args, kwargs)
        future.add_done_callback(call.settled)
        try:
            self.start(call)
        except BaseException as error:
            call.failed(error)
        return future

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as in the base class
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls; see `concurrent.futures.Executor.shutdown`.

        This knows of the calls given to `submit`. Those of graphs come through
        `start`: who has to wait for them, or end them, extends this.
        """
        with self.__lock:
            self.__shut = True
            futures = list(self.__futures)
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            concurrent.futures.wait(futures)

    def __discard(self, future: concurrent.futures.Future[Any]) -> None:
        """Forget a future that is done."""
        with self.__lock:
            self.__futures.discard(future)


class _FutureCall(Call):
    """A call whose end is told to a future."""

    __slots__ = ("_discard", "_executor", "_future", "_notified", "_switch")

    def __init__(
        self,
        executor: Executor,
        discard: Callable[[concurrent.futures.Future[Any]], None],
        future: concurrent.futures.Future[Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        options = Options(is_async=is_async(function))
        super().__init__(function, args, kwargs or None, options=options)
        self._executor = executor
        self._discard = discard
        self._future = future
        self.wants_start = True
        # A future is to be told just once that it has left the pending state.
        self._switch = threading.Lock()
        self._notified = False

    def settled(self, future: concurrent.futures.Future[Any]) -> None:
        """The future is done; if by a cancel, nobody needs the call any more."""
        self._discard(future)
        if future.cancelled():
            with self._switch:
                if not self._notified:
                    self._notified = True
                    future.set_running_or_notify_cancel()
            self._executor.cancel(self, 0.0)

    def started(self, at: float | None = None) -> None:
        del at
        self._begin()

    def output(self, stream: str, text: str) -> None:
        stream, text = printed(stream, text)
        target = sys.stderr if stream == "stderr" else sys.stdout
        try:
            target.write(text)
            target.flush()
        except Exception:
            log.exception("what %s has printed can't be passed on", self.name)

    def succeeded(self, value: Any) -> None:
        if self._begin():
            # Another thread may be faster with an end of its own.
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self._future.set_result(value)

    def failed(self, error: BaseException) -> None:
        if self._begin():
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self._future.set_exception(error)

    def cancelled(self, how: str) -> None:
        if not self._future.cancel() and not self._future.done():
            # A call that has begun is ended by nobody but the end of the pool.
            error = concurrent.futures.CancelledError(f"{self.name} was {how}")
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self._future.set_exception(error)

    def _begin(self) -> bool:
        """Leave the pending state; False when the future was cancelled or is done."""
        future = self._future
        with self._switch:
            if future.done():
                return False
            if not self._notified:
                self._notified = True
                return future.set_running_or_notify_cancel()
            return True
