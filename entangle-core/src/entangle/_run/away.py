"""Runs inside of tasks that run elsewhere: the caller's process is asked for them.

A place has a worker program, and neither pool nor engine. So the graph goes to the
process that the call has come from, as nodes do that a task returns; that runs it as a
run of the call, and the value comes back. The thread that asks waits; another, which
lives as long as there is something to wait for, reads the worker's stream meanwhile.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from entangle._graph.pack import pack
from entangle._graph.running import forked
from entangle._graph.walk import EDGE_TYPES
from entangle._log import Log
from entangle._worker import attach, codec, failures, frames
from entangle._worker import main as worker
from entangle.errors import (
    NestedRunError,
    RunOutsideTaskError,
    TaskError,
    UnpicklableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from entangle._graph.flow import Flow
    from entangle._graph.node import Node

log = Log("entangle.run")

T = TypeVar("T")

# What is asked for: a run, its end; and what is said of the call, which counts for the
# limit of its task only while it does not wait.
START, CANCEL, WAITS, GOES_ON = range(4)
# How a run has ended.
VALUE, FAILED, CANCELLED = range(3)

_HERE: Final = "a task that runs in another place"


class AwayFuture(Future[T]):
    """Stands for a run that the caller's process makes; as `RunFuture`. Thread-safe."""

    def __init__(self, asker: Asker, number: int) -> None:
        super().__init__()
        self._asker = asker
        self._number = number
        self._how: str | None = None

    def cancel(self) -> bool:
        """End the run, unless it is over; see `RunFuture.cancel`."""
        if self.done():
            return self.cancelled()
        self._asker.tell(CANCEL, self._number)
        return True

    def running(self) -> bool:
        """Tell whether the run is under way."""
        return not self.done()

    def result(self, timeout: float | None = None) -> T:
        """Return the value, or raise why there is none; waits for the run's end."""
        error = self.exception(timeout)
        if error is None:
            return super().result()
        try:
            raise error
        finally:
            del error  # its traceback would hold what it is held by

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return why there is no value, or None; waits as `result` does."""
        if self.done():
            return super().exception()
        with self._asker.waiting(self):
            return super().exception(timeout)

    def cancelled_how(self) -> str | None:
        """Return the worst that can be said of the calls that a cancel has ended."""
        return self._how

    def states(self) -> dict[Any, str]:
        """Return nothing: what becomes of the nodes is known to the caller's process."""
        return {}

    def settle(self, what: int, detail: Any, how: str | None) -> None:
        """The run is over."""
        self._how = how
        if what == CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
        elif self.set_running_or_notify_cancel():
            if what == VALUE:
                self.set_result(detail)
            else:
                self.set_exception(detail)


EDGE_TYPES.add(AwayFuture)


class Asker:
    """Asks for runs over this worker's stream. Thread-safe."""

    def __init__(self, asking: worker.Worker) -> None:
        self._worker = asking
        self._lock = threading.Lock()
        self._count = 0
        self._futures: dict[int, AwayFuture[Any]] = {}
        self._replies: deque[frames.Frame] = deque()
        self._reader: threading.Thread | None = None  # while something is to come
        failures.task_error = TaskError  # as in a process with a pool

    def ask(self, asked: Any, name: str) -> AwayFuture[Any]:
        """Ask for a run, and return its future.

        Raises:
            UnpicklableError: something in the graph can't travel.
        """
        try:
            blob = codec.encode(asked, "the graph")
        except codec.EncodeError as error:
            raise UnpicklableError(
                path=error.path, reason=error.reason, node=name
            ) from error
        with self._lock:
            self._count += 1
            number = self._count
            future: AwayFuture[Any] = AwayFuture(self, number)
            # Kept when the body is over: all that was asked for is answered.
            self._worker.relay = self._replies.append
            if self._reader is None:
                reader = threading.Thread(
                    target=self._read, name="entangle-away", daemon=True
                )
                reader.start()
                self._reader = reader
            self._futures[number] = future
        self.tell(START, number, (blob.data, *blob.buffers))
        return future

    def tell(self, what: int, number: int = 0, buffers: tuple[Any, ...] = ()) -> None:
        """Send one request."""
        body = pickle.dumps((what, number), 4)
        self._worker.send(frames.pack(frames.NESTED, body, buffers))

    @contextmanager
    def waiting(self, future: AwayFuture[Any]) -> Generator[None, None, None]:
        """Not count for the limit of the task, while this thread waits for a run."""
        goes_on = self.waits()
        try:
            if threading.current_thread() is self._reader:
                # A callback of another future waits: nobody else would read.
                while not future.done():
                    self._take()
            yield
        finally:
            goes_on()

    def waits(self) -> Callable[..., None]:
        """Tell that the call waits; what is returned tells that it goes on."""
        call = self._worker.running

        def goes_on(*_: object) -> None:
            if call == self._worker.running:
                self.tell(GOES_ON)

        self.tell(WAITS)
        return goes_on

    def _read(self) -> None:
        try:
            while self._wanted():
                self._take()
        except (EOFError, OSError, frames.ProtocolError):
            os._exit(worker.BROKEN_STREAM)  # nobody is there any more

    def _wanted(self) -> bool:
        with self._lock:
            if not self._futures:
                self._reader = None
            return self._reader is not None

    def _take(self) -> None:
        """Wait for the end of one run, and tell its future."""
        replies = self._replies
        self._worker.await_frame(lambda: bool(replies))
        frame = replies.popleft()
        number, what, detail, how = pickle.loads(frame.body)
        with self._lock:
            future = self._futures.pop(number)
        if what == VALUE:
            parcel = attach.received(
                frame.buffers[0], frame.buffers[1:], frame.marks[1:]
            )
            try:
                detail = codec.decode(parcel, owned=True)
            except BaseException as error:
                what, detail = FAILED, _useless(error)
        elif what == FAILED:
            detail = failures.decode_failure(detail)
        try:
            future.settle(what, detail, how)
        except BaseException:
            # A callback of the task's; it must not end the thread that others need.
            log.exception("a callback failed")


def _useless(error: BaseException) -> TaskError:
    made = TaskError(
        type(error).__name__,
        "a run inside of a task has given a value that can't be rebuilt where the task "
        f"runs: {getattr(error, 'reason', error)}",
    )
    made.__cause__ = error
    return made


_askers: list[Asker] = []  # at most one: of this worker


def _asker() -> Asker:
    """Return what asks for runs here.

    Raises:
        RunOutsideTaskError: no task is running.
        NestedRunError: it can't ask.
    """
    here = worker.current
    if here is None:
        raise forked()
    if not here.running:
        raise RunOutsideTaskError
    if not here.space.heard:
        raise NestedRunError(
            "a graph was run by a task in a place that is not trusted (trust=False), "
            "from which no graph is taken",
            "let the task return plain data, and have another task call what it needs",
        )
    budget = sys.modules.get("entangle._run.budget")
    observing = sys.modules.get("entangle._run.observing")
    if budget is not None and budget.current() is not None:
        raise _refusal("under a budget of its own")
    if observing is not None and observing.asked.get():
        raise _refusal("with observers of its own")
    if not _askers:
        _askers.append(Asker(here))
    return _askers[0]


def _refusal(how: str) -> NestedRunError:
    return NestedRunError(
        f"a graph was run by {_HERE}, {how}: its runs are made by the caller's process",
        "leave that out, or have it where the outer graph is run",
    )


# -- what `running` asks for, with the names and parameters that it has in `api` ----------


def submit(
    node: Node[Any],
    workers: int | None = None,
    timeout: float | None = None,
    **seen: Any,
) -> AwayFuture[Any]:
    """Have a graph run, and return its future."""
    if seen.pop("observers", None):
        raise _refusal("with observers=")
    asker = _asker()
    options = {"workers": workers, "timeout": timeout, "seen": seen}
    return asker.ask((pack(node), options), node.name)


def run(
    node: Node[Any],
    workers: int | None = None,
    timeout: float | None = None,
    **seen: Any,
) -> Any:
    """Have a graph run, and return its value."""
    return _value(submit(node, workers, timeout, **seen))


def awaited(node: Node[Any]) -> Generator[Any, None, Any]:
    """Return the iterator that awaits a graph; cancelling it cancels the run."""
    return _awaited(submit(node))


def as_completed(*_: object, **__: object) -> NoReturn:
    """Refuse: what is drawn lazily can't be sent beforehand.

    Raises:
        NestedRunError: always.
    """
    raise NestedRunError(
        f"as_completed was used in {_HERE}",
        "use node.submit() for each, or gather(..., return_exceptions=True)",
    )


def shutdown() -> None:
    """Nothing: there is no pool here."""


class flows:  # noqa: N801 - stands for a module
    """What `running` asks for flows, with the names that it has in `flows`."""

    @staticmethod
    def submit(flow: Flow, value: Any) -> AwayFuture[Any]:
        """Have a flow run, and return its future.

        Raises:
            NestedRunError: values are to be told to a function, here.
        """
        program = flow.program
        if any(getattr(stage.node.task, "callback", None) for stage in program.stages):
            raise _refusal("with callback=")
        return _asker().ask(((flow, value), {}), program.name)

    @staticmethod
    def run(flow: Flow, value: Any) -> Any:
        """Have a flow run, and return the values of its leaves."""
        return _value(flows.submit(flow, value))

    class awaitable:  # noqa: N801 - as in `flows`
        """Awaits a flow with an input."""

        def __init__(self, flow: Flow, value: Any) -> None:
            self._given = flow, value

        def __await__(self) -> Generator[Any, None, Any]:
            """Have it run; cancelling whoever awaits cancels the run."""
            return _awaited(flows.submit(*self._given))

    @staticmethod
    def stream(*_: object, **__: object) -> NoReturn:
        """Refuse: inputs are drawn as there is room.

        Raises:
            NestedRunError: always.
        """
        raise NestedRunError(
            f"a flow's stream was used in {_HERE}",
            "call the flow for each input, or stream where the outer graph is run",
        )


def _value(future: AwayFuture[T]) -> T:
    try:
        return future.result()
    except BaseException:
        # A signal's handler may have raised: then nobody wants it any more.
        future.cancel()
        raise
    finally:
        del future  # else its error would hold, by its traceback, what it is held by


def _awaited(future: AwayFuture[T]) -> Generator[Any, None, T]:
    import asyncio

    future.add_done_callback(_asker().waits())
    return asyncio.wrap_future(future).__await__()
