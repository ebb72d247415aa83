"""What a run notes of itself for those who observe it: the source of all events."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from entangle._engine_items import ASSEMBLING, EXPANDING, SKIPPED, SUCCEEDED
from entangle._graph.callables import kind_of
from entangle._graph.node import Node
from entangle._seam.events import NodeAdded, RunStarted
from entangle._seam.plugins import plugins
from entangle._worker import codec
from entangle._worker import main as worker
from entangle._worker.preview import MOST, preview
from entangle.errors import one_line

from . import current
from .calls import node_of
from .lanes import PAUSE, Lane
from .observing import (
    SETTLING,
    Called,
    Observer,
    asked,
    from_environment,
    observed_by_plugins,
)
from .spans import Seen
from .telling import Shown, described
from .values import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .run import Run
    from .telling import Ended, Teller

_TEXTS: Final = frozenset((str, bytes))
# Its body is over, or it has none.
_OVER: Final = frozenset((EXPANDING, ASSEMBLING, SUCCEEDED, SKIPPED))
FEW: Final = 64  # nodes that are added at once
_SMALL: Final = frozenset((bool, int, float, type(None)))
_NOTHING: Final = Shown()  # where there is no value


def watch(run: Run, nodes: int, name: str) -> Watch | None:
    """Ask who wants to observe a run; None if nobody does.

    Args:
        run: The run.
        nodes: How many nodes its graph has.
        name: The task whose value is asked for.
    """
    scope = current.scope.get()
    seen = None if scope is None else scope.seen
    given = asked.get()
    alone = worker.current is not None  # who asks elsewhere means runs there
    if not alone:
        given += from_environment()
    traces = any(observer.traces for observer in given)
    begun = RunStarted(
        run.identifier,
        time.time(),
        nodes,
        name,
        None if seen is None else (seen.run, seen.node),
        os.urandom(16).hex() if traces else "",
    )
    observers: list[Observer] = []
    if not alone and observed_by_plugins():
        observers += [
            Called(function, None, plugin.trouble)
            for plugin, function in plugins.ask("entangle_observe", run=begun)
            if function is not None
        ]
    observers += given
    return Watch(run, begun, observers, waits=bool(given)) if observers else None


class Watch:
    """Notes what happens in one run. Inside the monitor, as far as nothing else is said.

    Attributes:
        run: The run's identifier.
        trace: That of its trace; empty if nobody traces it.
    """

    def __init__(
        self, run: Run, begun: RunStarted, observers: list[Observer], *, waits: bool
    ) -> None:
        self.run = begun.run
        self.trace = begun.trace
        self.epoch = begun.time - time.monotonic()
        self._begun = begun
        self._hub = run.hub
        self._clock = run.clock
        self._observers = observers
        self._waits = waits
        # Where nothing else runs what is noted is told at once.
        self._direct = run.pool.inline
        self._numbers: dict[Any, int] = {}
        groups: dict[tuple[str, type[Teller]], list[Observer]] = {}
        for each in observers:
            thread = "views" if each.ours else "observers"
            groups.setdefault((thread, each.teller), []).append(each)
        self._lanes = [
            Lane(group, run.pool.serial(thread), begun.run, self.epoch, self._numbers)
            for (thread, _), group in groups.items()
        ]
        self._flushing = False
        # What was added before the run has begun.
        self._early: list[Any] | None = []
        self._wants_added = any(lane.wants(NodeAdded) for lane in self._lanes)
        # Nodes with an attempt that has failed or was cancelled.
        self._unlucky: set[int] = set()
        self._count = 0
        self._ready: dict[Any, float] = {}
        # With an item and 0: since when it was ready, as it is about to be started.
        self.take_ready = self._ready.pop

    def began(self) -> None:
        """The run begins."""
        for observer in self._observers:
            observer.hold()
        self._note("whole", self._begun, 1)
        early, self._early = self._early, None
        for noted in early or ():
            self._note("added", noted, 0)
        # At once: runs that its tasks begin come after it.
        for lane in self._lanes:
            lane.flush()

    def added(self, items: list[Any], parent: Any = None) -> None:
        """Nodes were added, those that a body has returned with whose body that was."""
        numbers, first = self._numbers, self._count + 1
        self._count += len(items)
        numbers.update(zip(items, range(first, self._count + 1), strict=True))
        if not self._wants_added:
            return
        # Inputs now: they change when a body returns nodes.
        rows = [(item.node, item.inputs, item.options) for item in items]
        above = 0 if parent is None else numbers.get(parent, 0)
        noted = self._clock(), first, rows, above
        if len(rows) < FEW:
            # These may come without end, and must not be kept until they are told.
            noted = noted[0], first, list(map(self._apart, rows)), above
        if self._early is not None:
            self._early.append(noted)
        else:
            self._note("added", noted, 0)

    def _apart(self, row: tuple[Any, Any, Any]) -> Any:
        """Note of a node what is needed, and not the node."""
        node, inputs, options = row
        numbers = tuple([self._numbers.get(each, 0) for each in inputs])
        return described(node), numbers, options

    def ready(self, items: Iterable[Any]) -> None:
        """All that some items wait for is there."""
        self._ready.update(dict.fromkeys(items, self._clock()))

    def kept_back(self, items: Iterable[Any]) -> None:
        """As `ready`; some of them may have been ready before, and kept back."""
        known, now = self._ready, self._clock()
        for item in items:
            known.setdefault(item, now)

    def started(self, call: Any) -> None:
        """The body of a call was entered; told once. Thread-safe."""
        if call.told:
            return
        call.told = True
        number, began = self._number(call.item), call.began or self._clock()
        self._note(
            "started",
            (began, number, call.name, call.attempt, call.options, call.pid),
        )

    def printed(self, call: Any, stream: str, text: str) -> None:
        """A call has printed lines. Thread-safe."""
        self.started(call)  # its output may be read first
        number = self._number(call.item)
        self._note("printed", (self._clock(), number, call.name, stream, text))

    def succeeded(
        self, calls: list[Any], ended: list[tuple[Any, int, Any]], now: float
    ) -> None:
        """Calls have returned values; what came together is noted together."""
        rows: list[Ended] = []
        add, numbers = rows.append, self._numbers
        for call, (item, attempt, value) in zip(calls, ended, strict=True):
            if type(value) not in _SMALL or item not in numbers:
                add(self._row(call, value))
                continue
            # As `_row` has it: this is the way of most.
            add(
                (
                    numbers[item],
                    call.name,
                    attempt,
                    call.options,
                    call.queued,
                    call.began,
                    call.took,
                    call.pid,
                    call.told,
                    value,
                    0,
                )
            )
        count = sum([1 if row[8] else 2 for row in rows])
        self._note("succeeded", (now, rows), count)

    def ended(
        self,
        call: Any,
        outcome: str,
        error: BaseException | None = None,
        *,
        value: Any = None,
        cached: bool = False,
    ) -> None:
        """A call is over."""
        text = "" if error is None else one_line(error)
        row = self._row(call, value if outcome == "succeeded" else _NOTHING)
        if cached or (not call.began and not call.took):
            row = (*row[:5], -1.0, *row[6:])
        if outcome not in {"succeeded", "expanded"}:
            self._unlucky.add(row[0])
        noted = self._clock(), row, outcome, text, cached
        self._note("ended", noted, 1 + (not call.told))

    def _row(self, call: Any, value: Any) -> Ended:
        """Note of a call that is over what is needed, and nothing large."""
        kind = kind_of(value)
        size = 0
        if kind is Encoded:
            size = value.parcel.nbytes
            value = Shown(value.parcel.shown)
        elif kind is Shown:
            pass
        elif kind not in codec.ATOMS or (kind in _TEXTS and len(value) > MOST):
            value = Shown(preview(value))
        item = call.item
        return (
            self._numbers.get(item) or self._number(item),
            call.name,
            call.attempt,
            call.options,
            call.queued,
            call.began,
            call.took,
            call.pid,
            call.told,
            value,
            size,
        )

    def retried(self, call: Any) -> None:
        """A call has failed, and its node will be tried again."""
        noted = self._clock(), self._number(call.item), call.name, call.attempt + 1
        self._note("retried", noted)

    def skipped(self, item: Any, name: str) -> None:
        """A node of a flow does not run, since nothing reaches it."""
        number = self._number(item)
        self.forget(item)
        self._note("skipped", (self._clock(), number, name))

    def span(self, event: Any) -> None:
        """A call has told of a part of it. Thread-safe."""
        self._note("span", event)

    def finished(self, outcome: str, error: BaseException | None) -> None:
        """The run is over."""
        text = "" if error is None else one_line(error)
        if outcome != "succeeded":
            self._note_not_run()
        now = self.epoch + self._clock()
        for lane in self._lanes:
            lane.finish(outcome, text, now)
        self._ready.clear()

    def _note_not_run(self) -> None:
        """Note which nodes never ran."""
        unlucky = self._unlucky
        rows = [
            (number, node_of(item).task.name)
            for item, number in self._numbers.items()
            if number not in unlucky
            and item.status not in _OVER
            and type(item.node) is Node
            and item.options.how != "assemble"
        ]
        if rows:
            self._note("not_run", (self._clock(), rows), 0)

    def seen(self, call: Any) -> Seen:
        """Return what a call that runs in this process is known by. Thread-safe."""
        return Seen(self, self._number(call.item), call.name, call.attempt)

    def settle(self) -> None:
        """Wait until those have seen all of it who were asked to; after its end."""
        if not self._waits or self._direct:
            return
        name = threading.current_thread().name
        if name in {"entangle-observers", "entangle-views"}:
            return  # it would wait for itself
        for lane in self._lanes:
            done = threading.Event()
            lane.settle(done.set)
            done.wait(SETTLING)

    def forget(self, item: Any) -> None:
        """A node will not be heard of again."""
        self._numbers.pop(item, None)
        self._ready.pop(item, None)

    def _number(self, item: Any) -> int:
        number = self._numbers.get(item)
        if number is None:
            self._count = number = self._count + 1
            self._numbers[item] = number
        return number

    def _note(self, tell: str, what: Any, count: int = 1) -> None:
        for lane in self._lanes:
            lane.note(tell, what, count)
        if self._direct:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self._hub.post(self._flush_soon)

    def _flush_soon(self) -> None:
        self._hub.at(self._clock() + PAUSE, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for lane in self._lanes:
            lane.flush()
