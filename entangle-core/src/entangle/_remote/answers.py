"""What a worker in a place has answered, told to its calls."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from entangle._pool import values
from entangle._pool.seen import SEEN, seen
from entangle._worker import frames, plain
from entangle._worker import main as protocol
from entangle._worker.attach import received
from entangle.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._pool.jobs import Job
    from entangle._pool.pool import Pool
    from entangle._seam.call import Call

    from .crew import Nested
    from .project import Project
    from .worker import FarWorker

_ENDS: Final = frozenset((frames.RESULT, frames.GRAPH, frames.FAILED, frames.PLAIN))
# What a place that is not trusted may say.
_HARMLESS: Final = frozenset(
    (frames.PLAIN, frames.FAILED, frames.STARTED, frames.MODULE, frames.SPACE)
)


class Answers:
    """Reads the frames of workers. Inside the monitor only.

    Args:
        pool: The process's pool.
        project: Where modules come from that workers ask for.
        nested: Who makes the runs that calls ask for.
        over: Told of a job when it is over, before its call is.
        label: What the places are called.
        trust: Whether what they pickle is decoded.
    """

    def __init__(
        self,
        pool: Pool,
        project: Project,
        nested: Nested,
        over: Callable[[Job], None],
        *,
        label: str,
        trust: bool,
    ) -> None:
        self._pool = pool
        self._project = project
        self._nested = nested
        self._over = over
        self._label = label
        self._trust = trust

    def frame(self, worker: FarWorker, item: frames.Frame) -> None:
        """Take one frame.

        Raises:
            Exception: it is no answer.
        """
        kind = item.kind
        if not self._trust and kind not in _HARMLESS:
            raise ValueError(f"kind {kind}, which nobody has asked for")
        if kind == frames.VALUES:
            self.values(worker, bytes(item.body), item.flags & frames.DIRTY)
        elif kind in _ENDS:
            self._call_over(worker, item)
        elif kind == frames.STARTED:
            number, _ = protocol.ANSWER.unpack_from(item.body)
            if worker.outstanding and worker.outstanding[0].number == number:
                worker.outstanding[0].call.started()
        elif kind == frames.MODULE:
            number, _, name = bytes(item.body).partition(b" ")
            # It reads files, and may take its time.
            self._pool.encoder.call(self._find_module, worker, int(number), name)
        elif kind == frames.NESTED:
            self._nested.requested(worker, item)
        elif kind == frames.SPACE:
            self._told(worker, item)
        else:
            raise ValueError(f"unknown kind {kind}")

    def _told(self, worker: FarWorker, item: frames.Frame) -> None:
        """Take what a call tells of itself."""
        if self._trust:
            number, what, detail = pickle.loads(item.body)
            # Else it tells of memory, which is no affair of a place's.
            if what in SEEN:
                seen(worker, number, what, detail)

    def values(self, worker: FarWorker, answers: bytes, dirty: int = 0) -> None:
        """Pass on what calls have returned, as it was sent or lay in the page.

        Raises:
            Exception: it is no answer.
        """
        if not self._trust:
            raise ValueError("values, which nobody has asked for")
        values.land(worker, answers, self._let_go, dirty)

    def _call_over(self, worker: FarWorker, item: frames.Frame) -> None:
        """Pass on how a call ended that is more than a plain value."""
        number, took = protocol.ANSWER.unpack_from(item.body)
        worker.finish_lines()
        call = self._let_go(worker, number, took, item.flags & frames.DIRTY)
        rest = bytes(item.body[protocol.ANSWER.size :])
        if not self._trust:
            decode = partial(self._decode_plain, call, item.kind, rest)
            self._pool.notifier.call(decode)
        elif item.kind == frames.FAILED:
            call.failed_encoded(rest)
        else:
            parcel = received(item.buffers[0], item.buffers[1:], item.marks[1:])
            if item.kind == frames.GRAPH:
                call.returned_graph(parcel)
            else:
                parcel.shown = rest.decode(errors="replace")
                call.succeeded(parcel)

    def _decode_plain(self, call: Call, kind: int, data: bytes) -> None:
        """Tell what a place that is not trusted has answered; not inside the monitor."""
        told: Any
        tell: Callable[[Any], None] = call.failed
        try:
            told = plain.decode(data)
            if kind == frames.PLAIN:
                tell = call.succeeded
            else:
                name, message, trace = map(str, told)
                told = TaskError(name, message, trace)
        except (plain.NotPlainError, TypeError, ValueError) as error:
            told = TaskError(type(error).__name__, f"{self._label}: {error}")
        self._pool.hub.post(tell, told)

    def _let_go(self, worker: FarWorker, number: int, took: int, dirty: int) -> Call:
        """Let go of a call that its worker has answered."""
        job = worker.outstanding[0]
        if job.number != number:
            raise ValueError(f"answer to call {number}, expected {job.number}")
        job.prepared.shipped.took(took)
        worker.answered = number
        worker.outstanding.popleft()
        if dirty or worker.key.fresh:
            worker.dirty = True
        self._over(job)
        return job.call

    def _find_module(self, worker: FarWorker, number: int, name: bytes) -> None:
        """Look for one of the caller's own modules; not inside the monitor."""
        answer = self._project.entry(
            name.decode(errors="replace"),
            loaded=not self._trust,
            version=worker.host.python,
        )
        body = pickle.dumps((number, answer), 4)
        self._pool.hub.post(self._send_module, worker, body)

    def _send_module(self, worker: FarWorker, body: bytes) -> None:
        if not worker.killed:
            worker.send(frames.pack(frames.SOURCE, body))
