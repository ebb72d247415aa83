"""Process calls of runs inside of tasks, made on behalf of a worker.

A task that runs a graph drives it in its own process, but its process calls come here
as frames: they run in workers of this pool, under its leases, and end with the task.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from entangle._graph.options import Options
from entangle._seam.call import Call
from entangle._worker import attach, failures, frames
from entangle._worker.attach import Parcel

from .jobs import Payload, Prepared
from .snapshot import Snapshot
from .worker import Key

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.options import SchedulerOptions

    from .processes import Processes
    from .scheduling import Group
    from .shipping import Shipped, Shipper
    from .worker import WorkerProcess

# What a worker asks for.
START, CANCEL = range(2)
# What it is told.
STARTED, VALUE, PARCEL, GRAPH, FAILED, CANCELLED, OUTPUT = range(7)


class NestedCall(Call):
    """A call whose reports are frames to the worker that asked for it."""

    __slots__ = ("_number", "_over", "_rank", "_worker", "root")

    def __init__(
        self,
        worker: WorkerProcess,
        number: int,
        name: str,
        over: Callable[[WorkerProcess], None],
        *,
        depth: int,
        wants_start: bool,
    ) -> None:
        super().__init__(_elsewhere, name=name, options=Options())
        self.wants_start = wants_start
        self.captures = True
        self._worker: WorkerProcess | None = worker
        self._number = number
        self._over = over
        asking = worker.outstanding[0]
        origin, waiting = asking.call.rank()
        self._rank = origin, waiting + depth
        # When the outermost of the calls came that wait for it.
        self.root: int = getattr(asking.call, "root", 0) or asking.arrival

    def rank(self) -> tuple[int, int]:
        return self._rank

    def run_of(self) -> object:
        # What it shares lives as long as the run that its caller's task is part of.
        worker = self._worker
        if worker is None or not worker.outstanding:
            return None
        return worker.outstanding[0].call.run_of()

    def run_id(self) -> str:
        worker = self._worker
        if worker is None or not worker.outstanding:
            return ""
        return worker.outstanding[0].call.run_id()

    def seen(self) -> Any:
        # It is a part of the call that has asked for it.
        worker = self._worker
        if worker is None or not worker.outstanding:
            return None
        return worker.outstanding[0].call.seen()

    def afford(self, name: str) -> Exception | None:
        worker = self._worker
        if worker is None or not worker.outstanding:
            return None
        return worker.outstanding[0].call.afford(name)

    def orphaned(self) -> None:
        """The call that asked is over: nobody is to be told any more."""
        self._worker = None

    def started(self, at: float | None = None) -> None:
        self._tell(STARTED, at)

    def output(self, stream: str, text: str) -> None:
        self._tell(OUTPUT, (stream, text))

    def succeeded(self, value: Any) -> None:
        if type(value) is Parcel:
            self._tell(PARCEL, None, value, last=True)
        else:
            self._tell(VALUE, value, last=True)

    def failed(self, error: BaseException) -> None:
        self.failed_encoded(failures.encode_failure(error))

    def failed_encoded(self, data: bytes) -> None:
        self._tell(FAILED, data, last=True)

    def returned_graph(self, blob: Any) -> None:
        self._tell(GRAPH, None, blob, last=True)

    def cancelled(self, how: str) -> None:
        self._tell(CANCELLED, how, last=True)

    def _tell(
        self, what: int, detail: Any, parcel: Any = None, *, last: bool = False
    ) -> None:
        worker = self._worker
        if worker is None:
            return
        # First: if it can't be said, that is to be said.
        body = pickle.dumps((self._number, what, detail), 5)
        if last:
            worker.children.pop(self._number, None)
            if not worker.children:
                self._over(worker)
            self._worker = None
        buffers = () if parcel is None else (parcel.data, *parcel.buffers)
        worker.send_with(frames.REPLY, body, buffers)


def _elsewhere() -> None:
    """Stands for a function that only workers know."""


class NestedCalls:
    """Starts and ends what workers ask for. Inside the monitor only."""

    def __init__(
        self,
        processes: Processes,
        shipper: Shipper,
        group: Callable[[SchedulerOptions], Group],
    ) -> None:
        self._group = group
        self._processes = processes
        self._shipper = shipper
        self._snapshots = 0

    def requested(self, worker: WorkerProcess, frame: Any) -> None:
        """Handle one request of a worker whose call runs a graph."""
        operation, number, *rest = pickle.loads(frame.body)
        if operation == CANCEL:
            call = worker.children.get(number)
            if call is not None:
                self._processes.cancel(call)
            return
        request = rest[0]
        # Noted in any case: it is not sent again.
        shipped = self._shipped(worker, request)
        snapshot = self._snapshot(worker, request)
        if not worker.outstanding:
            return  # asked for by a thread that a body has left: it has ended since
        payload = None
        if request["payload"] is not None:
            data, own = request["payload"]
            buffers = attach.readable(frame.buffers, frame.marks)
            payload = Payload(data, own, list(buffers), [])
        call = NestedCall(
            worker,
            number,
            request["name"],
            self._processes.goes_on,
            depth=request["depth"],
            wants_start=request["wants_start"],
        )
        call.alone = request["alone"]
        call.args, call.kwargs = request["args"], request["kwargs"]
        # However its body waits for what it has asked for, it needs no room for that.
        if not worker.children:
            self._processes.steps_aside(worker)
        worker.children[number] = call
        refusal = call.afford(call.name)
        if refusal is not None:
            call.failed(refusal)
            return
        env, cwd, nice, preload, fresh = request["key"]
        scheduler = request["scheduler"]
        self._processes.start(
            call,
            Prepared(
                shipped,
                snapshot,
                Key(env, cwd, nice, None, preload, fresh=fresh),
                min(request["cpus"], self._processes.capacity),
                payload,
                None if scheduler is None else self._group(scheduler),
                request["is_async"],
                request["limit"],
                request["bound"],
                scheduler,
            ),
        )

    def _shipped(self, worker: WorkerProcess, request: dict[str, Any]) -> Shipped:
        digest, data, by_value = request["function"]
        if request["anew"]:
            worker.nested_functions.clear()
        if data is not None:
            worker.nested_functions[digest] = self._shipper.adopt(
                digest, data, by_value=by_value
            )
        shipped: Shipped = worker.nested_functions[digest]
        return shipped

    def _snapshot(self, worker: WorkerProcess, request: dict[str, Any]) -> Snapshot:
        number, data = request["snapshot"]
        if data is not None:
            # Numbers below zero: never those of this process's own snapshots.
            self._snapshots -= 1
            worker.nested_snapshots = {number: Snapshot(self._snapshots, data)}
        snapshot: Snapshot = worker.nested_snapshots[number]
        return snapshot
