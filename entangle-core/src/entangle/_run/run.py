"""The driver of one run: feeds the engine, executes its commands.

Every method whose name starts with ``call_``, and whatever they call, runs inside the
hub's monitor. An error in one of them is ours, not the user's: it ends this run with
`InternalError` and leaves the others alone.
"""

from __future__ import annotations

import _thread
import contextvars
import os
import time
from collections import deque
from itertools import count, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from entangle._engine import Engine
from entangle._engine_items import ISSUED
from entangle._graph.walk import edges
from entangle.errors import (
    EntangleError,
    InternalError,
)

from . import budget, current, failed
from .alarms import Alarms
from .arguments import Encoder
from .calls import Expansion, NodeCall, node_of
from .checks import check
from .discover import discover, has_body, is_node
from .news import News
from .notes import note_path
from .observing import wanted
from .outcomes import Outcomes
from .pins import Pins
from .places import Places
from .values import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from entangle._engine_items import Item
    from entangle._graph.task import Task
    from entangle._pool.pool import Pool
    from entangle._pool.snapshot import Snapshot

    from .arguments import Batch
    from .discover import Discovered
    from .keeping import Keeper
    from .observers import Watch
    from .place import Place

_TASK: Final[Callable[[Item], Task[..., Any]]] = attrgetter("node.task")
_origins = count(1)
_naming = _thread.allocate_lock()  # of runs whose names two threads ask for


class Run(News):
    """One execution of a graph. Thread-safe as far as it says so.

    Attributes:
        finished: Whether everything is over; written inside the monitor.
        submitted: Whether a future stands for it.
        rank: As that of its calls.
    """

    clock = staticmethod(time.monotonic)
    pushes = False  # whether calls get values that their nodes don't name
    call_type = NodeCall

    def __init__(
        self,
        pool: Pool,
        *,
        workers: int | None = None,
        timeout: float | None = None,
    ) -> None:
        check(workers, timeout)
        self.pool = pool
        self.hub = pool.hub
        self.finished = False
        self.submitted = False
        # Seeded differently each time: processes that fail together must not all
        # try again at the same moment.
        self.engine = Engine(
            workers=workers, timeout=timeout, seed=time.monotonic_ns(), name=_name
        )
        self.pins = Pins(self.engine)
        self.items: dict[Any, Item] = {}
        self.outcomes = Outcomes()
        self.encoder = Encoder(pool.shared_number)
        self.places = Places(self)
        self.watch: Watch | None = None
        self.keeper: Keeper | None = None
        self.budget = budget.current()
        self.context = contextvars.copy_context()
        self.on_finished: Callable[[], None] | None = None
        self.on_delivery: Callable[[Item, BaseException | None], None] | None = None
        # Values that have come, and whether they are about to be told to the engine:
        # most come many at a time. Thread-safe, as the flag is drawn first.
        self.landed: deque[tuple[NodeCall, Any]] = deque()
        self.landing = False
        self._active = False
        self._orphaned = False
        self._due = False  # whether the engine's commands are about to be carried out
        self._begun = 0.0
        self._failure: BaseException | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._calls: dict[Item, NodeCall] = {}
        self._externals: list[tuple[Any, Item]] = []
        self._alarms = Alarms(self.hub, self.clock, self._rang)
        self._snapshot: Snapshot | None = None
        self._identifier: str | None = None
        self._parent = current.parent()
        if self._parent is None:
            self.rank: tuple[int, int] = next(_origins), 0
        else:
            origin, waiting = self._parent.rank
            self.rank = origin, waiting + 1
            self._parent.adopt(self)

    # -- from outside the monitor ------------------------------------------------

    def prepare(self, found: Discovered) -> None:
        """Ship the functions and encode the arguments of nodes about to be added.

        Raises:
            UnpicklableError: something can't be sent to a process.
            Exception: what making a scheduler of the user's raises.
        """
        batch: Batch = {}
        for task, nodes in found.alike:
            self.places.prepare(task, nodes, batch)

    @property
    def identifier(self) -> str:
        """When it began, and what tells it from all other runs: made when asked for."""
        with _naming:
            if self._identifier is None:
                moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
                self._identifier = f"{moment}-{os.urandom(4).hex()}"
            return self._identifier

    def observe(self, nodes: Iterable[Any], name: str) -> None:
        """Have those observe the run who want to; before anything is added.

        Args:
            nodes: The nodes of its graph, as far as they are known.
            name: The task whose value is asked for; empty if there are several.
        """
        if wanted():
            # Imported here: most runs are observed by nobody.
            from .observers import watch

            self.watch = watch(self, sum(map(has_body, nodes)), name)

    def knows(self, edge: Any) -> bool:
        """Tell whether an edge was added and its value is still to be had."""
        item = self.items.get(edge)
        return item is not None and not item.spent

    def add(self, found: Discovered, parent: Item | None = None) -> None:
        """Add nodes to the engine: before the run begins, or inside the monitor.

        Args:
            found: The nodes.
            parent: Whose body has returned them, if one has.
        """
        if not self.items:
            # As large as it will be, mostly: one such thing is enough.
            self.items = self.outcomes.items = found.order
        self._add(found, parent)
        # From here, where no variable refers to a node: references are counted.
        self.pins.pin(found.order, self.items)

    def _add(self, found: Discovered, parent: Item | None) -> None:
        engine, items, inputs = self.engine, self.items, found.inputs
        for task, nodes in found.alike:
            options = self.places.relaxed.get(task, task.options)
            how = options.how
            added = engine.add_all(nodes, options, assemble=how == "assemble")
            items.update(zip(nodes, added, strict=True))
            if how == "workflow":
                for item in added:
                    self.pins.grow(item)
        # References are counted soon.
        nodes, found.alike = [], []
        for edge in found.others:
            items[edge] = item = engine.add(edge, current.NO_OPTIONS, external=True)
            self._externals.append((edge, item))
        for edge in [each for each in found.order if each in inputs]:
            engine.link(items[edge], [items[other] for other in inputs.pop(edge)])
        if self.watch is not None:
            self.watch.added(list(map(items.__getitem__, found.order)), parent)

    def snapshot(self) -> Snapshot:
        """Return the state of this process that the run's workers take over."""
        if self._snapshot is None:
            self._snapshot = self.pool.snapshots.now()
        return self._snapshot

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run is finished, or for some seconds."""
        if not self.finished:
            if not self._done.acquire(timeout=-1 if timeout is None else timeout):
                return False
            self._done.release()
        return True

    def root(self, edge: Any, *, tolerant: bool = False) -> Item:
        """Ask for the outcome of an edge that was added; not once the run has begun."""
        item = self.items[edge]
        self.engine.root(item, tolerant=tolerant)
        return item

    def result(self, item: Item) -> Any:
        """Return the value of a root of the finished run, as an object.

        Raises:
            CancelledError: it was ended, by `shutdown` or with the call it belonged to.
            BaseException: why the run failed, with a note on where it came from.
        """
        error = self.failure
        if error is not None:
            note_path(error, item)
            failed.note_rest(error, self, item)
            try:
                raise error
            finally:
                # Its traceback would hold what it is held by.
                del error, item, self
        if self.outcome == "cancelled":
            raise current.cancelled_run(_name(node_of(item)))
        value = objects(item.value)
        # Runs are left to the collector, which may take its time; values are large.
        item.value = None
        return value

    @property
    def under_way(self) -> bool:
        """Whether the run has begun, or is about to, and is not over."""
        return (self._active or self.submitted) and not self.finished

    @property
    def failure(self) -> BaseException | None:
        """Why the finished run failed."""
        return self._failure if self._failure is not None else self.engine.error

    @property
    def outcome(self) -> str | None:
        """How the finished run ended: ``'succeeded'``, ``'failed'``, ``'cancelled'``."""
        return "failed" if self._failure is not None else self.engine.outcome

    def _external(self, item: Item) -> Callable[[Any], None]:
        def landed(future: Any) -> None:
            error = (
                current.cancelled_error(future)
                if future.cancelled()
                else future.exception()
            )
            if error is None:
                self.hub.post(self.call_landed, item, future.result(), None)
            else:
                self.hub.post(self.call_landed, item, None, error)

        return landed

    # -- inside the monitor ------------------------------------------------------

    def begin(self, *, more: bool = False) -> None:
        """Start the run with what was added."""
        if self.finished:
            # The pool was shut down before it began.
            self.pool.runs.discard(self)
            return
        if self._orphaned:
            self._feed(self.engine.cancel, self.clock())
            return
        self._active = True
        self._begun = self.clock()
        self.hub.active(1)
        if self.watch is not None:
            self.watch.began()
        if self.budget is not None:
            self.budget.begin(self)
        if more:
            self.pins.grow(self)
        self._feed(self.engine.begin, self.clock(), more=more)

    def add_root(self, edge: Any, added: Callable[[Item], None]) -> None:
        """Add a root while the run is under way; its failure fails nothing else.

        Args:
            edge: The node, prepared.
            added: Is told the item before any news of it can come.
        """
        self._feed(self._add_root, edge, added)

    def _add_root(self, edge: Any, added: Callable[[Item], None]) -> None:
        self.add(discover(edge, self.knows))
        item = self.items[edge]
        added(item)
        self.engine.root(item, tolerant=True)
        self.engine.settle(self.clock())

    def collected(self, item: Item, *, lasting: bool) -> None:
        """The value of a delivered root was taken: forget what only it has used.

        Args:
            item: The root.
            lasting: Whether its node may be asked for again.
        """
        self.engine.collected(item)
        if not lasting:
            self.pins.unpin(item)
        self.forget([node_of(item)])

    def forget(self, pending: list[Any]) -> None:
        """Forget those of some nodes, and of what they need, that are spent."""
        while pending:
            edge = pending.pop()
            known = self.items.get(edge)
            if known is not None and known.spent:
                del self.items[edge]
                if self.watch is not None:
                    self.watch.forget(known)
                if is_node(edge):
                    self.encoder.forget(edge)
                    pending.extend(edges(edge))

    def no_more(self) -> None:
        """No root will be added any more."""
        self.pins.settle(self)
        self._feed(self.engine.close, self.clock())

    def cancel(self) -> None:
        """End the run and all that it runs."""
        self._feed(self.engine.cancel, self.clock())

    def stop(self, error: EntangleError) -> None:
        """End the run and all that it runs; that is why it fails."""
        if not self.finished and self._failure is None:
            self._failure = error
            self.cancel()

    def orphaned(self) -> None:
        """The call that made it is over, maybe while the run is still being built.

        What a thread builds is not touched by another: such a run ends as it begins.
        """
        if self._active:
            self.cancel()
        else:
            self._orphaned = True

    def _feed(self, event: Callable[..., None], *args: Any, **options: Any) -> None:
        """Tell the engine of an event; what it wants done is done soon after."""
        if self.finished:
            return
        try:
            event(*args, **options)
        except Exception as error:
            self._poison(error)
            return
        if not self._due:
            # After the other news that is here already: most come many at a time.
            self._due = True
            self.hub.post(self._carry_out)

    def _carry_out(self) -> None:
        self._due = False
        if self.finished:
            return
        try:
            if self._externals:
                self._listen()
            self._execute()
        except Exception as error:
            self._poison(error)

    def _listen(self) -> None:
        """Hear of futures among the arguments: only once their items are settled."""
        while self._externals:
            future, item = self._externals.pop()
            future.add_done_callback(self._external(item))

    def _execute(self) -> None:
        engine = self.engine
        while True:
            if engine.starts:
                self._start(engine.starts)
            elif engine.assembles:
                self._assemble(engine.assembles.popleft())
            elif engine.cancels:
                self._cancel(*engine.cancels.popleft())
            elif engine.deliveries:
                item, error = engine.deliveries.popleft()
                if self.on_delivery is not None:
                    self.on_delivery(item, error)
            else:
                break
        if engine.alarms:
            self._alarms.set(engine.alarms)
        if engine.finished:
            self._finish()

    def _start(self, starts: deque[Item]) -> None:
        if self.watch is not None and not self.pushes:
            self.watch.ready(starts)
        places = self.places.of_task
        if len(starts) == 1:
            # As in a chain, whose every hop comes here.
            item = starts.popleft()
            place = places[_TASK(item)]
            self.call(place.admit([item]), place)
            return
        items = list(starts)
        starts.clear()
        for task, alike in groupby(items, _TASK):
            place = places[task]
            self.call(place.admit(list(alike)), place)

    def call(self, items: Iterable[Item], place: Place) -> None:
        """Start items of one task now, which their place may have kept back till then.

        Args:
            items: The items, in the order in which they are to be started.
            place: The place of their task, which has let them in.
        """
        begun, made = self._calls, self.call_type
        calls: list[NodeCall] = []
        for item in items:
            if item.status != ISSUED:
                continue  # nobody wants it any more
            if item.attempt > 1:
                known = begun.get(item)
                if known is not None and known.attempt == item.attempt:
                    continue  # it was kept back twice: for an attempt that is over, too
            node: Any = item.node
            if type(node) is Expansion:
                node = node.node
            call = made(self, item, node)
            if (item.inputs or self.budget is not None) and not self._ready(call):
                continue
            begun[item] = call
            call.place = place
            options = call.options
            if options.limit is None or options.cache:
                calls.append(call)
            else:
                self.places.launch(call, place)
        if calls:
            place.start_all(calls)

    def _ready(self, call: NodeCall) -> bool:
        """Give a call its arguments, if it is affordable; else it has failed."""
        item = call.item
        error: Exception | None = None
        if item.inputs:
            try:
                self._fill(call)
            except TypeError as unfit:
                # A value that can't be where its node was: a list, say, in a set.
                error = unfit
        if error is None and self.budget is not None and not call.options.cache:
            error = self.budget.admit(call)
        if error is None:
            return True
        self.engine.failed(item, item.attempt, error, self.clock(), final=True)
        return False

    def _fill(self, call: NodeCall) -> None:
        """Give a call its arguments.

        Raises:
            TypeError: a value can't be where its node was.
        """
        self.outcomes.fill(call)

    def _assemble(self, item: Item) -> None:
        node = item.node
        value = node.value if type(node) is Expansion else node.args[0]  # type: ignore[attr-defined]
        try:
            built = self.outcomes.of(value)
        except TypeError as error:
            self.engine.unassembled(item, error, self.clock())
        else:
            if self.keeper is not None and self.keeper.keeps(item):
                self.keeper.keep(item, built)
            else:
                self.engine.assembled(item, built, self.clock())

    def _cancel(self, item: Item, attempt: int) -> None:
        call = self._calls.get(item)
        if call is None or call.attempt != attempt:
            self.engine.ended(item, attempt, "already done", self.clock())
        else:
            self.places.cancel(call)

    def resume(self, refill: Callable[[], None]) -> None:
        """Have a place start what it has kept back, by `call`."""
        self._feed(refill)

    def unstarted(self, call: NodeCall) -> None:
        """A call was cancelled before any place had it."""
        self.hub.post(self.call_cancelled, call, "already done")

    def handed_out(self, item: Item) -> bool:
        """Tell whether a place has the item's call, as far as is known. Thread-safe."""
        return item in self._calls

    def wanted(self, call: NodeCall) -> bool:
        """Tell whether a call that waited for its turn is still to be started."""
        item = call.item
        return (
            not self.finished
            and self._calls.get(item) is call
            and item.status == ISSUED
        )

    def _rang(self, token: int, now: float) -> None:
        """An alarm of the engine's is due."""
        if not self.finished:
            self._feed(self.engine.alarm, token, now)

    # -- end ---------------------------------------------------------------------

    def _poison(self, error: Exception) -> None:
        """End a run whose own state can't be trusted any more."""
        failure: EntangleError
        if isinstance(error, EntangleError):
            failure = error
        else:
            failure = InternalError(f"a run lost its state: {error!r}")
            failure.__cause__ = error
        self._failure = failure
        for call in list(self._calls.values()):
            try:
                self.places.cancel(call)
            except Exception as further:  # the first one is the one to be raised
                failure.add_note(f"and in ending {call.name}: {further!r}")
        self._finish()

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        self.pool.runs.discard(self)
        if self._active:
            self.hub.active(-1)
        for call in self._calls.values():
            # Nobody will hear of its end: what it holds of others must not wait.
            self.places.left(call)
            if self.budget is not None:
                self.budget.left(call)
            if self.watch is not None:
                self.watch.ended(call, "unconfirmed")
        self.places.close()
        self.keeper = None
        self._calls.clear()
        self.landed.clear()
        self._alarms.close()
        if self._parent is not None:
            self._parent.release(self)
        if self.watch is not None and self._active:
            self.watch.finished(self.outcome or "cancelled", self.failure)
        if self.budget is not None:
            self.budget.finished(self)
        self._done.release()
        self.hub.wake_poller()
        finished, self.on_finished = self.on_finished, None
        if finished is not None:
            finished()


def _name(node: Any) -> str:
    if type(node) is Expansion:
        node = node.node
    return getattr(getattr(node, "task", None), "name", "") or repr(node)
