"""The process pool as a task sees it: the caller's, reached over the worker's stream.

Runs inside of a task are driven in the task's process, its threads are its own, but
process calls go to the process that started this worker, which has the leases of the
processors and the zygotes. Nothing here outlives the call that the worker is running.
"""

from __future__ import annotations

import _thread
import pickle
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._worker import attach, frames, pieces

from . import nested

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from entangle._seam.call import Call

    from .hub import Hub
    from .jobs import Prepared

MOST_FUNCTIONS = 1000  # that the caller's pool is to remember for this worker


class Relay:
    """Stands in for `Processes` inside of a worker. Inside the monitor only."""

    def __init__(self, hub: Hub, worker: Any) -> None:
        self.capacity = 1
        self._hub = hub
        self._worker = worker
        self._count = 0
        self._calls: dict[int, Call] = {}
        self._numbers: dict[Call, int] = {}
        self._functions: set[bytes] = set()
        self._snapshot = 0
        self._attached = False
        # One for each thread that is about to begin a run, and to wait for it.
        self._about_to_wait: deque[int] = deque()
        # What is said of one thread must not be overtaken by what contradicts it.
        self._saying = _thread.allocate_lock()

    def start(
        self,
        call: Call,
        prepared: Prepared,
        *,
        plain: bool = False,
    ) -> None:
        """Ask the caller's pool for a call."""
        del plain  # for workers of this process alone
        self._attach()
        self._count += 1
        number = self._count
        self._calls[number] = call
        self._numbers[call] = number
        shipped, key = prepared.shipped, prepared.key
        payload, buffers = None, []
        if prepared.payload is not None:
            payload = (prepared.payload.data, prepared.payload.own)
            buffers = prepared.payload.buffers
        digest = shipped.digest
        anew = len(self._functions) >= MOST_FUNCTIONS
        if anew:
            self._functions.clear()
        data = None if digest in self._functions else shipped.data
        self._functions.add(digest)
        snapshot = prepared.snapshot
        state = None if snapshot.number == self._snapshot else snapshot.data
        self._snapshot = snapshot.number
        request = {
            "name": call.name,
            "wants_start": call.wants_start,
            "alone": call.alone,
            "args": () if payload else call.args,
            "kwargs": None if payload else call.kwargs,
            "payload": payload,
            "function": (digest, data, shipped.by_value),
            "anew": anew,
            "snapshot": (snapshot.number, state),
            "key": (key.env, key.cwd, key.nice, key.preload, key.fresh),
            "limit": prepared.limit,
            "bound": prepared.bound,
            "scheduler": prepared.scheduler,
            "cpus": prepared.cpus,
            "depth": call.rank()[1],
            "is_async": prepared.is_async,
        }
        body = pickle.dumps((nested.START, number, request), 5)
        if pieces.released:
            # Or a body that runs one graph after the other would keep all their values.
            self._worker.space.tell_released()
        self._worker.send(frames.pack(frames.NESTED, body, buffers))

    def start_all(self, calls: Sequence[Call], prepared: Prepared) -> None:
        """Ask for several calls of which the same was made."""
        for call in calls:
            self.start(call, prepared)

    def cancel(self, call: Call) -> None:
        """Ask the caller's pool to end a call."""
        number = self._numbers.get(call)
        if number is not None:
            body = pickle.dumps((nested.CANCEL, number), 5)
            self._worker.send(frames.pack(frames.NESTED, body))

    def expect(self, preload: tuple[str, ...], at_once: bool) -> None:  # noqa: FBT001 - posted
        """Nothing is started here."""

    def pump(self) -> None:
        """Say that the task waits, once the run that it waits for has begun."""
        waiting = self._about_to_wait
        if waiting:
            with self._saying:
                while waiting:
                    self._say_blocked(waiting.popleft())

    def blocked(self, *, begins: bool = False) -> int:
        """The task waits for a run: its processors are free meanwhile.

        Args:
            begins: Whether that run is about to begin. Then its calls are asked for
                before this is said: they, and no others, get those processors.

        Returns:
            The task's call, to be given to `resumed`. Thread-safe, as that is.
        """
        call: int = self._worker.running
        if call and begins:
            self._about_to_wait.append(call)
        elif call:
            self._say_blocked(call)
        return call

    def resumed(self, lease: int) -> None:
        """The task goes on, if it is not over."""
        with self._saying:
            if lease in self._about_to_wait:
                self._about_to_wait.remove(lease)
            elif lease and lease == self._worker.running:
                self._worker.send(frames.pack(frames.RESUMED, b""))

    def _say_blocked(self, call: int) -> None:
        if call == self._worker.running:
            self._worker.send(frames.pack(frames.BLOCKED, b""))

    def lone(self) -> None:
        """No worker of this process's own is at work."""

    def run_over(self, run: object) -> None:
        """Nothing is kept here: it belongs to the run that the task is part of."""

    def forget_shared(self, numbers: set[int]) -> None:
        """Nothing is sent ahead from here."""

    def close(self) -> None:
        """Let go of the stream."""
        self._detach()

    def descriptors(self) -> Iterator[int]:
        """Yield nothing: the stream is the worker's."""
        return iter(())

    def pids(self) -> list[int]:
        """Return nothing: the processes are the caller's."""
        return []

    def _attach(self) -> None:
        """Read the worker's stream while its body runs."""
        if not self._attached:
            self._attached = True
            # Who waits for memory may be the one to receive it, outside of the monitor.
            self._worker.relay = partial(self._hub.post, self._replied)
            self._worker.endings.append(self._body_ended)
            self._hub.watch(self._worker.sock.fileno(), self._readable)

    def _detach(self) -> None:
        if self._attached:
            self._attached = False
            self._hub.unwatch(self._worker.sock.fileno())
            self._worker.relay = None
            calls = list(self._calls.values())
            self._calls.clear()
            self._numbers.clear()
            for call in calls:
                # The caller ends them as soon as it has this call's answer.
                call.cancelled("killed")

    def _body_ended(self) -> None:
        """Leave the stream to the worker again; called by the worker's main thread."""
        self._hub.run_inside(self._detach)

    def _readable(self, _mask: int) -> None:
        try:
            self._worker.pump()
        except (EOFError, OSError, frames.ProtocolError):
            # The caller is gone or closing: its zygote ends this process.
            self._hub.unwatch(self._worker.sock.fileno())

    def _replied(self, frame: Any) -> None:
        number, what, detail = pickle.loads(frame.body)
        call = self._calls.get(number)
        if call is None:
            return
        if what == nested.STARTED:
            call.started(detail)
            return
        if what == nested.OUTPUT:
            call.output(*detail)
            return
        del self._calls[number]
        self._numbers.pop(call, None)
        if what == nested.VALUE:
            call.succeeded(detail)
        elif what == nested.FAILED:
            call.failed_encoded(detail)
        elif what == nested.CANCELLED:
            call.cancelled(detail)
        else:
            parcel = attach.received(
                frame.buffers[0], frame.buffers[1:], frame.marks[1:]
            )
            if what == nested.PARCEL:
                call.succeeded(parcel)
            else:
                call.returned_graph(parcel)
