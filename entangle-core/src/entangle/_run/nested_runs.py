"""Runs that tasks elsewhere ask for, made here: the caller's side of `away`.

They are runs of the call that has asked, as those of a task in a thread are: they keep
to its budget, tell its observers, and end with it. While one is under way the call takes
no room of its place, so that what it waits for may run there.
"""

from __future__ import annotations

import contextvars
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._graph.pack import Packed, unpack
from entangle._worker import codec, failures, frames
from entangle._worker.attach import received
from entangle.errors import TaskError, UnpicklableError

from . import current
from .api import built, submitted
from .away import CANCEL, CANCELLED, FAILED, START, VALUE, WAITS
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._pool.jobs import Job
    from entangle._pool.pool import Pool
    from entangle._remote.worker import FarWorker
    from entangle._worker.attach import Parcel

    from .future import RunFuture


class NestedRuns:
    """Makes the runs that the calls of one pool ask for. Inside the monitor only."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def requested(self, worker: FarWorker, frame: frames.Frame) -> None:
        """Handle one request of a worker.

        Raises:
            Exception: it is none.
        """
        what, number = pickle.loads(frame.body)
        job = worker.outstanding[0] if worker.outstanding else None
        if job is None or job.cancelled or worker.killed:
            if what == START:
                # A thread that a body has left: its run would belong to nobody.
                _answer(worker, number, CANCELLED)
            return
        asked: Asked | None = job.asked
        if what == START:
            if asked is None:
                asked = job.asked = Asked(self._pool, worker, job)
            parcel = received(frame.buffers[0], frame.buffers[1:], frame.marks[1:])
            asked.start(number, parcel)
        elif what == CANCEL:
            if asked is not None:
                asked.cancel(number)
        elif (slot := getattr(job.call, "slot", None)) is None:
            return
        elif what == WAITS:
            slot.step_out()  # what it waits for may be calls of its own task
        else:
            slot.step_in()

    def over(self, job: Job, report: Callable[[], None] | None) -> None:
        """A call is over: end what it has asked for.

        Args:
            job: The call.
            report: Called when that is done, or has had its time.
        """
        asked, job.asked = job.asked, None
        if asked is not None:
            asked.scope.end(then=report)
        elif report is not None:
            report()


class Asked:
    """The runs that one call has asked for."""

    def __init__(self, pool: Pool, worker: FarWorker, job: Job) -> None:
        self.scope = current.Scope()
        self.scope.seen = job.call.seen()
        self.scope.rank = job.call.rank()
        outer = job.call.run_of()
        self._context = (
            outer.context if isinstance(outer, Run) else contextvars.Context()
        )
        self._pool = pool
        self._worker = worker
        self._job = job
        self._count = 0  # of those under way; inside the monitor only
        self._futures: dict[int, RunFuture[Any]] = {}

    def start(self, number: int, parcel: Parcel) -> None:
        """Begin one; inside the monitor."""
        self._count += 1
        # Rebuilding nodes runs code of the user's, as those do that a call returns.
        self._pool.notifier.call(self._begin, number, parcel)

    def cancel(self, number: int) -> None:
        """End one; inside the monitor."""
        self._pool.notifier.call(self._cancel, number)

    def _begin(self, number: int, parcel: Parcel) -> None:
        try:
            future = self._context.copy().run(self._submitted, parcel)
        except BaseException as error:
            self._tell(number, FAILED, self._failure(error))
        else:
            self._futures[number] = future
            self._pool.hub.post(self._wait)
            future.add_done_callback(lambda _: self._done(number, future))

    def _wait(self) -> None:
        """Give back the room of the call, which its own calls are queued for by now."""
        if self._count and not self._job.over:
            self._worker.step_aside()

    def _submitted(self, parcel: Parcel) -> RunFuture[Any]:
        current.scope.set(self.scope)
        asked, options = codec.decode(parcel, owned=True)
        if not isinstance(asked, Packed):
            flow, value = asked
            future: RunFuture[Any] = flow.submit(value)
            return future
        # Imported here, as in `api`.
        from entangle._see.asked import seeing

        seen, node = options.pop("seen"), unpack(asked)
        with seeing(**seen):
            # What it asks for itself, a trace, say, is there when it goes on.
            under_way, root = built(self._pool, node, **options)
            return submitted(self._pool, under_way, root, observed=bool(seen))

    def _cancel(self, number: int) -> None:
        future = self._futures.get(number)
        if future is not None:
            future.cancel()

    def _done(self, number: int, future: RunFuture[Any]) -> None:
        """Encode what has come of one; on whatever thread."""
        how = future.cancelled_how()
        if future.cancelled():
            self._tell(number, CANCELLED, how=how)
            return
        # Not raised here, which would add to its traceback.
        error = future.exception()
        if error is None:
            try:
                buffers = self._encoded(future.result())
            except BaseException as trouble:  # whatever pickling a value raises
                error = trouble
            else:
                self._tell(number, VALUE, buffers=buffers, how=how)
                return
        self._tell(number, FAILED, self._failure(error), how=how)

    def _encoded(self, value: Any) -> Sequence[Any]:
        """Encode a value.

        Raises:
            UnpicklableError: it can't be sent to where the call runs.
        """
        name = self._job.call.name
        try:
            blob = codec.encode(value, "the value")
            buffers = codec.plain((blob.data, *blob.buffers))
        except codec.EncodeError as trouble:
            raise UnpicklableError(
                path=trouble.path, reason=trouble.reason, node=name
            ) from trouble
        if not self._understood(*buffers):
            raise UnpicklableError(
                path="the value",
                reason="it holds a function or a class of the program itself, of which "
                "the Python there, of another version, would make nonsense",
                node=name,
            )
        return buffers

    def _failure(self, error: BaseException) -> bytes:
        """Encode an error; as text, if its class would make no sense there."""
        data = failures.encode_failure(error)
        if self._understood(data):
            return data
        made = TaskError(*failures.texts(error))
        for note in getattr(error, "__notes__", ()):
            made.add_note(note)
        return failures.encode_failure(made)

    def _understood(self, *parts: Any) -> bool:
        """Tell whether pickles mean the same where the call runs."""
        if not self._worker.host.differs:
            return True
        # Imported here: most places have this Python.
        from entangle._remote.by_source import portable

        return all(map(portable, parts))

    def _tell(self, number: int, *answer: Any, **more: Any) -> None:
        self._pool.hub.post(partial(self._told, number, *answer, **more))
        self._pool.hub.attend()

    def _told(self, number: int, *answer: Any, **more: Any) -> None:
        """One is over; inside the monitor."""
        self._futures.pop(number, None)
        self._count -= 1
        worker = self._worker
        if not self._count and not self._job.over:
            worker.step_back()
        if not worker.killed:
            _answer(worker, number, *answer, **more)


def _answer(
    worker: FarWorker,
    number: int,
    what: int,
    detail: Any = None,
    *,
    buffers: Any = (),
    how: str | None = None,
) -> None:
    body = pickle.dumps((number, what, detail, how), 4)
    worker.send(frames.pack(frames.REPLY, body, buffers))
