"""What becomes of a run's calls, told to its engine.

Every method whose name starts with ``call_``, and whatever they call, runs inside the
hub's monitor.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from entangle._engine_items import ISSUED, RUNNING, SUCCEEDED
from entangle.errors import (
    BudgetExceededError,
    CacheKeyError,
    TaskError,
    UnpicklableError,
)

from . import failed
from .calls import Expansion, node_of
from .discover import discover

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from entangle._engine import Engine
    from entangle._engine_items import Item

    from .budget import Budget
    from .calls import NodeCall
    from .discover import Discovered
    from .keeping import Keeper
    from .observers import Watch
    from .pins import Pins
    from .places import Places


# What would fail the next time, too.
_FINAL = (UnpicklableError, CacheKeyError, BudgetExceededError)


class News:
    """The part of a run that hears of its calls."""

    engine: Engine
    pins: Pins
    items: dict[Any, Item]
    places: Places
    keeper: Keeper | None
    watch: Watch | None
    budget: Budget | None
    clock: Callable[[], float]
    finished: bool
    # Values that have come, and whether they are about to be told to the engine: most
    # come many at a time. Thread-safe, as the flag is drawn first.
    landed: deque[tuple[NodeCall, Any]]
    landing: bool
    _begun: float
    _calls: dict[Item, NodeCall]

    @abstractmethod
    def knows(self, edge: Any) -> bool:
        """Tell whether an edge was added and its value is still to be had."""

    @abstractmethod
    def add(self, found: Discovered, parent: Item | None = None) -> None:
        """Add nodes to the engine: before the run begins, or inside the monitor."""

    @abstractmethod
    def _feed(self, event: Callable[..., None], *args: Any, **options: Any) -> None:
        """Tell the engine something, and carry out what it wants."""

    def call_started(self, call: NodeCall, at: float) -> None:
        """A body was entered."""
        at = self.not_before(at)
        if self.budget is not None:
            self.budget.started(call, at)
        self._feed(self.engine.started, call.item, call.attempt, at)

    def call_billed(self, call: NodeCall, at: float) -> None:
        """A call's place costs from some moment on, though its body was not entered."""
        if self.budget is not None:
            self.budget.started(call, at)

    def not_before(self, at: float) -> float:
        """Return a moment, or the run's begin if that is later.

        Somebody else's executor may say what it likes.
        """
        return max(at, self._begun)

    def is_open(self, call: NodeCall) -> bool:
        """Tell whether a call is not over: what is reported later is ignored."""
        return self._calls.get(call.item) is call

    def call_succeeded(self, call: NodeCall, value: Any) -> None:
        """A body returned a value without nodes."""
        if self._calls.get(call.item) is call:
            self._feed(self._succeeded, call, value)

    def _succeeded(self, call: NodeCall, value: Any, *, cached: bool = False) -> None:
        self._left(call, "succeeded", value=value, cached=cached)
        item, now = call.item, self.clock()
        if self.keeper is not None and self.keeper.keeps(item):
            # As if it had returned nodes: its body is over, its value to be kept.
            item.node = Expansion(node_of(item), value)
            self.engine.expanded(item, call.attempt, (), now, value=value)
        else:
            self.engine.succeeded(item, call.attempt, value, now)
        self.pins.settle(item)

    def call_cached(self, call: NodeCall, value: Any) -> None:
        """The value of a call was found: nothing has to be started."""
        if self._calls.get(call.item) is call:
            self._feed(self._succeeded, call, value, cached=True)

    def call_joined(self, call: NodeCall, other: Item) -> None:
        """An equal call is under way: its value is that of this one, too."""
        self._feed(self._expanded, call, node_of(other))

    def kept(self, item: Item, value: Any) -> None:
        """The value of an item is kept, as far as it can be: now it is delivered."""
        self._feed(self.engine.assembled, item, value, self.clock())

    def calls_succeeded(self) -> None:
        """Bodies returned values without nodes, see `landed`."""
        self.landing = False
        self._feed(self._all_succeeded)

    def _all_succeeded(self) -> None:
        landed, calls, keeper = self.landed, self._calls, self.keeper
        ended: list[tuple[Item, int, Any]] = []
        left: list[NodeCall] = []
        seen: list[NodeCall] | None = None if self.watch is None else []
        while landed:
            call, value = landed.popleft()
            item = call.item
            if calls.get(item) is not call:
                continue
            if keeper is not None and keeper.keeps(item):
                self._succeeded(call, value)
                continue
            del calls[item]
            if self.budget is not None:
                self.budget.left(call)
            if call.limit_state or call.cached is not None:
                self.places.left(call)
            else:
                left.append(call)
            ended.append((item, call.attempt, value))
            if seen is not None:
                seen.append(call)
        _tell_left(left)
        now = self.clock()
        if seen and self.watch is not None:
            self.watch.succeeded(seen, ended, now)
        self.engine.all_succeeded(ended, now)
        if self.pins.growing:
            for item, _, _ in ended:
                self.pins.settle(item)

    def call_failed(self, call: NodeCall, error: BaseException) -> None:
        """A body raised, or its process died."""
        if self._calls.get(call.item) is call:
            self._feed(self._failed, call, error)

    def _failed(self, call: NodeCall, error: BaseException) -> None:
        failed.remember(error, call)
        self._left(call, "failed", error)
        final = isinstance(error, _FINAL)
        self.engine.failed(call.item, call.attempt, error, self.clock(), final=final)
        if self.watch is not None and call.item.status < SUCCEEDED:
            self.watch.retried(call)

    def call_cancelled(self, call: NodeCall, how: str) -> None:
        """A call was ended because the engine asked for it."""
        if self._calls.get(call.item) is call:
            self._feed(self._ended, call, how)

    def _ended(self, call: NodeCall, how: str) -> None:
        item, now = call.item, self.clock()
        # Why it was to be ended, if it was too slow.
        overrun = None if item.extra is None else item.extra.overrun
        self._left(call, how, overrun)
        if item.status in {ISSUED, RUNNING}:
            # Somebody else's executor was shut down, say.
            error = TaskError("CancelledError", f"the place ended {call.name} unasked")
            self.engine.failed(item, call.attempt, error, now)
        else:
            self.engine.ended(item, call.attempt, how, now)
            if self.watch is not None and item.status < SUCCEEDED:
                self.watch.retried(call)
            if item.error is not None:
                failed.remember(item.error, call)

    def call_expanded(self, call: NodeCall, value: Any) -> None:
        """A body returned nodes, which are prepared."""
        if self.finished:
            self.places.close()  # what was prepared came too late
        if self._calls.get(call.item) is call:
            self._feed(self._expanded, call, value)

    def _expanded(self, call: NodeCall, value: Any) -> None:
        self._left(call, "expanded")
        # Found anew: what was known may have been spent in the meantime.
        found = discover(value, self.knows)
        item = call.item
        self.add(found, item)
        item.node = Expansion(node_of(item), value)
        producers = [self.items[edge] for edge in found.roots]
        self.engine.expanded(item, call.attempt, producers, self.clock())
        self.pins.settle(item)

    def call_landed(self, item: Item, value: Any, error: BaseException | None) -> None:
        """A run whose future is an argument of this one is over."""
        if error is None:
            self._feed(self.engine.succeeded, item, item.attempt, value, self.clock())
        else:
            self._feed(self.engine.failed, item, item.attempt, error, self.clock())

    def _left(
        self,
        call: NodeCall,
        outcome: str,
        error: BaseException | None = None,
        *,
        value: Any = None,
        cached: bool = False,
    ) -> None:
        """Let go of a call that is over."""
        del self._calls[call.item]
        if self.watch is not None:
            self.watch.ended(call, outcome, error, value=value, cached=cached)
        if self.budget is not None:
            self.budget.left(call)
        self.places.left(call)


def _tell_left(calls: list[NodeCall]) -> None:
    """Tell places of calls that have succeeded there."""
    if len(calls) > 1:
        places = {call.place for call in calls}
        if len(places) == 1:
            places.pop().all_left(calls)
            return
    for call in calls:
        call.place.left(call)
