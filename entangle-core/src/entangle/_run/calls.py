"""One attempt of one node, as the executors see it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from entangle._engine_moves import HOW
from entangle._seam.call import Call, printed
from entangle._worker import codec
from entangle._worker.attach import Parcel
from entangle.errors import TaskError, UnpicklableError

from .discover import discover, has_edges
from .told import told
from .values import Encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._engine_items import Item
    from entangle._graph.node import Node
    from entangle._graph.options import Options
    from entangle._graph.task import Task
    from entangle._pool.limits import Slot

    from .cached import CachedPlace
    from .place import Place
    from .run import Run
    from .spans import Seen


TAIL: Final = 4_096  # characters of what a call prints that its failure may show


class NodeCall(Call):
    """Reports what becomes of an attempt to the run that it belongs to."""

    __slots__ = (
        "attempt",
        "began",
        "cached",
        "given",
        "item",
        "limit_state",
        "node",
        "place",
        "queued",
        "run",
        "slot",
        "tail",
        "task",
        "then",
        "told",
    )

    place: Place  # where it is started
    tail: str  # the last that it has printed; not set before it prints

    def __init__(self, run: Run, item: Item, node: Node[Any]) -> None:
        # As fast as can be: one is made for every call.
        self.run = run
        self.node = node
        self.task = node.task
        self.cached: CachedPlace | None = None  # who looks for its value first
        self.limit_state = 0
        self.given = 0  # see `ProcessPlace`
        self.slot: Slot | None = None
        self.then: Callable[[Any], Node[Any]] | None = None  # what takes its value
        self.item = item
        self.attempt = item.attempt
        self.function = node.task.body
        self.args: tuple[Any, ...] = node.args
        self.kwargs = node.kwargs
        self.name = node.task.name
        self.options: Options = item.options
        # Most items have no flag at all.
        self.alone = starts = bool(item.flags) and item.wants_start
        watch = run.watch
        if watch is None:
            self.captures = False
            self.wants_start = starts
        else:
            # What only observers are told: when it was ready and began, if that is
            # known (both as of the monotonic clock), and whether they know.
            self.captures = self.wants_start = True
            self.queued: float = watch.take_ready(item, 0.0)
            self.began = 0.0
            self.told = False
            self.pid = self.took = 0

    def rank(self) -> tuple[int, int]:
        return self.run.rank

    def run_of(self) -> object:
        return self.run

    def run_id(self) -> str:
        return self.run.identifier

    def seen(self) -> Seen | None:
        watch = self.run.watch
        return None if watch is None else watch.seen(self)

    def afford(self, name: str) -> Exception | None:
        budget = self.run.budget
        return None if budget is None else budget.admit_inner(name)

    def started(self, at: float | None = None) -> None:
        run, now = self.run, self.run.clock()
        if type(at) is float and at < now:
            now = at
        if run.watch is not None and run.is_open(self) and not self.began:
            self.began = run.not_before(now)
            if run.pool.inline or (
                self.options.how != "process" and self.options.executor is None
            ):
                self.pid = os.getpid()
            run.watch.started(self)
        if self.alone:
            run.hub.post(run.call_started, self, now)

    def billed(self) -> None:
        run = self.run
        if run.budget is not None:
            run.hub.post(run.call_billed, self, run.clock())

    def output(self, stream: str, text: str) -> None:
        if not self.run.is_open(self):
            return
        stream, text = printed(stream, text)
        self.tail = (getattr(self, "tail", "") + text)[-TAIL:]
        self.run.pool.printer.take(stream, self, text)
        # Places report when nothing else may happen for long.
        self.run.hub.stir()
        if self.run.watch is not None:
            self.run.watch.printed(self, stream, text)

    def succeeded(self, value: Any) -> None:
        run = self.run
        if run.finished:
            return
        if self.then is not None:
            # Decoding may run code of the user's.
            run.pool.notifier.call(self._go_on, value)
            return
        if type(value) is Parcel:
            value = Encoded(value)
        elif type(value) not in codec.ATOMS and has_edges(value):
            self._expand(value)
            return
        if self.alone:
            # After what was told of it before.
            run.hub.post(run.call_succeeded, self, value)
        else:
            run.landed.append((self, value))
            if not run.landing:
                run.landing = True
                run.hub.post(run.calls_succeeded)

    def all_succeeded(self, ended: list[tuple[Call, Any]]) -> None:
        for call, value in ended:
            # As `succeeded` has it: this is the way of most.
            if (
                type(call) is NodeCall
                and type(value) in codec.ATOMS
                and call.then is None
                and not call.alone
            ):
                run = call.run
                if not run.finished:
                    run.landed.append((call, value))
                    if not run.landing:
                        run.landing = True
                        run.hub.post(run.calls_succeeded)
            else:
                super().all_succeeded([(call, value)])

    def failed(self, error: BaseException) -> None:
        # An executor of somebody else's may report what would end the caller.
        error = told(error)
        if isinstance(error, codec.EncodeError):
            unpicklable = UnpicklableError(
                path=error.path, reason=error.reason, node=self.name
            )
            unpicklable.__cause__ = error
            error = unpicklable
        self.run.hub.post(self.run.call_failed, self, error)

    def cancelled(self, how: str) -> None:
        if how not in HOW:
            how = "unconfirmed"  # whatever an executor of somebody else's means by it
        self.run.hub.post(self.run.call_cancelled, self, how)

    def failed_encoded(self, data: bytes) -> None:
        # Rebuilding an exception may run code of the user's.
        self.run.pool.notifier.call(Call.failed_encoded, self, data)

    def returned_graph(self, blob: Any) -> None:
        self.run.pool.notifier.call(self._unpack, blob)

    def _unpack(self, blob: Any) -> None:
        from entangle._graph.pack import unpack

        try:
            value = unpack(codec.decode(blob))
        except Exception as error:
            failure = TaskError(
                type(error).__name__,
                f"nodes were returned that can't be rebuilt here: {error}",
            )
            failure.__cause__ = error
            self.failed(failure)
        else:
            self._expand(value)

    def _go_on(self, value: Any) -> None:
        """Expand to the call of what takes the value."""
        then: Any = self.then
        try:
            node = then(Encoded(value) if type(value) is Parcel else value)
        except BaseException as error:
            self.failed(error)
        else:
            self._expand(node)

    def _expand(self, value: Any) -> None:
        """Prepare the returned nodes outside of the monitor, then add them."""
        run = self.run
        try:
            run.prepare(discover(value, run.knows))
        except BaseException as error:
            self.failed(error)
            if run.finished:
                run.hub.post(run.places.close)
        else:
            run.hub.post(run.call_expanded, self, value)


class Expansion:
    """What an item that returned nodes is put together from.

    It takes the place of the node whose body is over.
    """

    __slots__ = ("node", "value")

    def __init__(self, node: Node[Any], value: Any) -> None:
        self.node = node
        self.value = value

    @property
    def task(self) -> Task[..., Any]:
        """The task of the node."""
        return self.node.task


def node_of(item: Item) -> Node[Any]:
    """Return the node of an item, expanded or not."""
    node: Any = item.node
    return node.node if type(node) is Expansion else node
