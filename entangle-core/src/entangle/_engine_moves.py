"""How the items of a run move from one status to the next.

The inner half of the engine: `Engine` turns events into these moves.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from entangle import _engine_deadlines as deadlines
from entangle._engine_items import (
    ABANDONED,
    ASSEMBLE,
    ASSEMBLING,
    CANCELLED,
    CANCELLING,
    DOOMED,
    EXPANDING,
    EXTERNAL,
    FAILED,
    HINDERED,
    ISSUED,
    LENIENT,
    PINNED,
    PUSH,
    READY,
    ROOT,
    RUNNING,
    SKIPPED,
    SLEEPING,
    SUCCEEDED,
    TIMED,
    TOLERANT,
    WAITING,
    WAITS,
    WATCHED,
    Bounded,
    Item,
    consumers_of,
)
from entangle._engine_knots import find_knot
from entangle._engine_push import fires, hinder
from entangle._engine_waits import arm, stir, watch
from entangle.errors import InternalError, ProcessTimeoutException

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._graph.options import Options

# How cancelled calls ended, by how much may still be going on: nothing was running;
# it runs no more; it runs on, in this process and known to; nobody knows; it runs on
# elsewhere, and the place refuses to end it.
HOW: Final = ("already done", "killed", "abandoned", "unconfirmed", "cannot kill")

# An item without these has a call like most.
SPECIAL: Final = EXTERNAL | TIMED | WATCHED

_SETTLED_FIRST: Final = ROOT | EXTERNAL | DOOMED | WAITS

# Does not fail with an input that does.
_HARDY: Final = TOLERANT | PUSH

# Not simply ready when all its inputs have ended.
_HELD: Final = WAITS | HINDERED

# Its bound counts from the first value that is pushed to it.
_PUSH_WAITS: Final = WAITS | PUSH


class Moves:
    """The state of a run and its transitions; what is public belongs to `Engine`."""

    __slots__ = (
        "_active",
        "_alarms",
        "_backlog",
        "_begun",
        "_calls",
        "_cancelled",
        "_closed",
        "_fresh",
        "_jitter",
        "_kinds",
        "_name",
        "_push_waits",
        "_roots",
        "_timeout",
        "_workers",
        "alarms",
        "assembles",
        "cancels",
        "deliveries",
        "error",
        "finished",
        "how",
        "outcome",
        "starts",
    )

    def __init__(
        self,
        workers: int | None,
        timeout: float | None,
        seed: int,
        name: "Callable[[object], str]",
    ) -> None:
        self.starts: deque[Item] = deque()
        self.assembles: deque[Item] = deque()
        self.cancels: deque[tuple[Item, int]] = deque()
        self.deliveries: deque[tuple[Item, BaseException | None]] = deque()
        self.outcome: str | None = None
        self.error: BaseException | None = None
        self.finished = False
        self.how: str = HOW[0]
        self._alarms = deadlines.Alarms()
        self.alarms = self._alarms.commands
        self._workers = workers
        self._timeout = timeout
        self._jitter = deadlines.Jitter(seed)
        self._name = name
        self._begun = False
        self._closed = False
        # Added, or to be looked at again, since the last batch was settled.
        self._fresh: list[Item] = []
        # Roots that have not ended, as an ordered set.
        self._roots: dict[Item, None] = {}
        # Ready, for want of workers; may hold items that were cancelled since.
        self._backlog: deque[Item] = deque()
        # Calls that were issued and are not over.
        self._calls = 0
        # Items that will bring another event, or are in the backlog.
        self._active = 0
        # Cancelled in this event: they share one alarm.
        self._cancelled: list[tuple[Item, int]] = []
        # Flags by the identity of the options, which the entry keeps alive: most
        # nodes share theirs with others.
        self._kinds: dict[int, tuple[Options, int, type[Item]]] = {}
        # Whether any pushed item has a bound on its inputs.
        self._push_waits = False

    # ------------------------------------------------------------ becoming ready

    def _kind(self, options: "Options") -> "tuple[Options, int, type[Item]]":
        flags = 0
        if options.tolerant:
            flags |= TOLERANT
        if options.timeout is not None or options.start is not None:
            flags |= TIMED
        if options.wait is not None:
            flags |= WAITS
        if options.push:
            flags |= PUSH
            self._push_waits |= options.wait is not None
        again = options.retry or options.source is not None
        bounded = flags & (TIMED | WAITS) or again
        known = self._kinds[id(options)] = options, flags, Bounded if bounded else Item
        return known

    def _check(self, producer: Item) -> None:
        if producer.spent:
            raise InternalError(
                f"the value of {self._name(producer.node)} was asked for when it was "
                f"spent ({producer.state})"
            )

    def _settle(self, now: float, *, front: bool) -> None:
        fresh = self._fresh
        if not fresh or not self._begun:
            return
        self._fresh = []
        if self.outcome is not None:
            self._abolish(fresh)
            return
        special: list[Item] = []
        for item in fresh:
            item.pending -= 1
            if not item.wants or item.flags & _SETTLED_FIRST:
                special.append(item)
        # These first: they may end items, or ask others for the time of their start.
        for item in special:
            self._settle_special(item, now)
        if front:
            fresh.reverse()
        free, starts = self._workers is None, self.starts
        issue = starts.appendleft if front else starts.append
        issued = 0
        for item in fresh:
            if item.pending:
                continue
            if free and not item.flags & ~ROOT and item.status == WAITING:
                # As _ready and _issue have it: this is the way of most.
                item.status = ISSUED
                item.attempt += 1
                issued += 1
                issue(item)
            else:
                self._ready(item, now, front=front)
        self._active += issued
        self._calls += issued

    def _settle_special(self, item: Item, now: float) -> None:
        if item.status >= SUCCEEDED:
            # Made a root after it had ended, unless it has ended just now.
            if item.flags & ROOT and self._deliver(item):
                self._end_run("failed", item.error)
        elif not item.wants:
            self._discard([item])
        elif item.flags & DOOMED:
            error = next(p.error for p in item.inputs if p.error is not None)
            self._fail(item, error, now)
        elif item.status == WAITING:
            if item.flags & EXTERNAL:
                item.status = RUNNING
                item.attempt = 1
                self._active += 1
            if item.flags & _PUSH_WAITS == WAITS:
                watch(item, self._alarms, now)

    def _ready(self, item: Item, now: float, *, front: bool = True) -> None:
        """All inputs of `item` are there, if it still wants them."""
        status = item.status
        if status == WAITING:
            if not item.flags and front and self._workers is None:
                # As below: this is the way of most.
                item.status = ISSUED
                item.attempt += 1
                self._active += 1
                self._calls += 1
                self.starts.appendleft(item)
                return
            if item.flags & _HELD:
                if item.flags & HINDERED and not fires(item):
                    self._skip(item, now)
                    return
                self._alarms.disarm(item)
            if not item.flags & ASSEMBLE:
                self._enqueue(item, now, front=front)
                return
        elif status != EXPANDING:
            return
        item.status = ASSEMBLING
        self._active += 1
        self.assembles.append(item)

    def _enqueue(self, item: Item, now: float, *, front: bool = True) -> None:
        """Have the next attempt of `item` issued, when there is a worker."""
        self._active += 1
        if self._workers is None:
            self._issue(item, now, front=front)
            return
        item.status = READY
        if front:
            self._backlog.appendleft(item)
        else:
            self._backlog.append(item)

    def _issue(self, item: Item, now: float, *, front: bool) -> None:
        item.status = ISSUED
        item.attempt += 1
        self._calls += 1
        if front:
            self.starts.appendleft(item)
        else:
            self.starts.append(item)
        if item.flags & TIMED:
            start = item.options.start
            if start is not None:
                self._alarms.arm(item, now + start)

    # --------------------------------------------------------------- calls that end

    def _returned(self, item: Item, now: float) -> bool:
        """The call of `item` has brought a result; whether that still counts."""
        status = item.status
        if status == CANCELLING:
            extra = item.extra
            if extra is None or extra.overrun is None:
                self._confirmed(item, "already done", now)
                return False
            # A result beats a deadline whose consequence is not confirmed.
            extra.overrun = None
        elif not ISSUED <= status <= RUNNING:
            return False
        if item.flags & SPECIAL:
            self._vacate(item)
            if item.flags & WATCHED:
                stir(item, self._alarms, now)
        else:
            self._active -= 1
            self._calls -= 1
        return True

    def _vacate(self, item: Item) -> None:
        """The call of `item` is over, whatever became of it."""
        self._active -= 1
        if not item.flags & EXTERNAL:
            self._calls -= 1
        if item.flags & TIMED:
            self._alarms.disarm(item)

    def _resolve(self, item: Item, value: object, now: float) -> None:
        """End `item` with its value."""
        item.status = SUCCEEDED
        item.value = value
        if item.inputs:
            release(item.inputs)
        consumers = item.consumers
        if consumers is not None:
            item.consumers = None
            if isinstance(consumers, Item):
                consumers.pending -= 1
                if not consumers.pending:
                    self._ready(consumers, now)
            else:
                # Each goes to the front, so the last one first.
                for consumer in reversed(consumers):
                    consumer.pending -= 1
                    if not consumer.pending:
                        self._ready(consumer, now)
            if self._push_waits:
                self._first_values(consumers, now)
        if item.flags & ROOT:
            self._deliver(item)

    def _deliver(self, root: Item) -> bool:
        """Hand out the outcome of a root that has ended; whether it fails the run."""
        del self._roots[root]
        error = root.error
        self.deliveries.append((root, error))
        lenient = root.flags & LENIENT
        root.flags &= ~(ROOT | LENIENT)
        return error is not None and not lenient

    # ------------------------------------------------------------------- failing

    def _attempt_failed(
        self, item: Item, error: BaseException, now: float, *, final: bool = False
    ) -> None:
        """The call of `item` is over: try again, or let the item fail."""
        if final or item.flags & EXTERNAL or not deadlines.try_again(item, error):
            self._fail(item, deadlines.final_error(item, error, self._name), now)
            return
        delay = deadlines.retry_delay(item, error, self._jitter)
        if delay > 0:
            item.status = SLEEPING
            self._active += 1
            self._alarms.arm(item, now + delay)
        else:
            self._enqueue(item, now)

    def _fail(self, item: Item, error: BaseException, now: float) -> None:
        """End `item`, which is not active any more, and all that can't do without."""
        self._alarms.disarm(item)
        item.status = FAILED
        if item.flags & WATCHED:
            stir(item, self._alarms, now)
        doomed = [item]
        relieved: list[Item] = []
        needless: list[Item] = []
        fatal = False
        for each in doomed:
            each.value = error
            for consumer in consumers_of(each):
                if consumer.status >= SUCCEEDED:
                    continue
                if consumer.flags & _HARDY:
                    if hinder(consumer):
                        relieved.append(consumer)
                else:
                    self._alarms.disarm(consumer)
                    consumer.status = FAILED
                    doomed.append(consumer)
            each.consumers = None
            needless += release(each.inputs)
            if each.flags & ROOT and self._deliver(each):
                fatal = True
        self._discard(needless)
        if fatal:
            self._end_run("failed", error)
            return
        for each in reversed(relieved):
            self._ready(each, now)

    def _skip(self, item: Item, now: float) -> None:
        """End `item`, which was pushed but cannot fire, and all that it held up."""
        skipped = [item]
        relieved: list[Item] = []
        for each in skipped:
            self._alarms.disarm(each)
            each.status = SKIPPED
            for consumer in consumers_of(each):
                if consumer.status < SUCCEEDED and hinder(consumer):
                    if consumer.flags & PUSH and not fires(consumer):
                        skipped.append(consumer)
                    else:
                        relieved.append(consumer)
            each.consumers = None
            release(each.inputs)
        for each in reversed(relieved):
            self._ready(each, now)

    def _first_values(self, consumers: "Item | list[Item]", now: float) -> None:
        """A value was pushed to items that wait for others: from now it counts."""
        for item in [consumers] if isinstance(consumers, Item) else consumers:
            if item.status == WAITING and item.flags & _PUSH_WAITS == _PUSH_WAITS:
                arm(item, self._alarms, now)

    def _overrun(self, item: Item, now: float) -> None:
        """A deadline of `item` has passed."""
        options = item.options
        if item.status == WAITING:
            item.attempt += 1
            error = self._timeout_error(item, "wait", options.wait)
            if deadlines.try_again(item, error):
                arm(item, self._alarms, now)
            else:
                self._fail(item, deadlines.final_error(item, error, self._name), now)
            return
        if item.status == ISSUED:
            error = self._timeout_error(item, "start", options.start)
        else:
            error = self._timeout_error(item, "body", options.timeout)
        if self._withdraw(item):
            self._vacate(item)
            self._attempt_failed(item, error, now)
        else:
            self._cancel_call(item, error)

    def _overrun_run(self) -> None:
        """The run has missed its own deadline, unless it is decided."""
        if self.outcome is None:
            root = next(iter(self._roots), None)
            error = self._timeout_error(root, "run", self._timeout)
            self._end_run("failed", error)

    def _timeout_error(
        self, item: Item | None, phase: str, seconds: float | None
    ) -> ProcessTimeoutException:
        name = "" if item is None else self._name(item.node)
        return ProcessTimeoutException(node=name, phase=phase, seconds=seconds or 0.0)

    # ---------------------------------------------------------------- cancelling

    def _discard(self, needless: list[Item]) -> None:
        """Spare what nobody needs any more, with all that only it needed."""
        for item in needless:
            status = item.status
            if status >= SUCCEEDED:
                continue
            if status == CANCELLING:
                deadlines.pardon(item)
            elif ISSUED <= status <= RUNNING and not item.flags & EXTERNAL:
                if self._withdraw(item):
                    self._vacate(item)
                    needless += self._end(item, CANCELLED)
                else:
                    self._cancel_call(item, None)
            else:
                needless += self._drop(item)

    def _drop(self, item: Item) -> list[Item]:
        """Cancel an item that has no call of ours; which inputs nobody needs now."""
        self._alarms.disarm(item)
        if item.status not in {WAITING, EXPANDING}:
            self._active -= 1
        return self._end(item, CANCELLED)

    def _end(self, item: Item, status: int) -> list[Item]:
        item.status = status
        item.value = None
        item.consumers = None
        return release(item.inputs)

    def _withdraw(self, item: Item) -> bool:
        """Take back a start command that was not drained, if there is one."""
        if item.status == ISSUED and self.starts:
            try:
                self.starts.remove(item)
            except ValueError:
                return False
            return True
        return False

    def _cancel_call(self, item: Item, overrun: BaseException | None) -> None:
        self._alarms.disarm(item)
        item.status = CANCELLING
        if overrun is not None:
            deadlines.extra_of(item).overrun = overrun
        self.cancels.append((item, item.attempt))
        self._cancelled.append((item, item.attempt))

    def _confirmed(self, item: Item, how: str, now: float) -> None:
        """The cancelled call of `item` has ended, or is given up."""
        rank = HOW.index(how)
        if rank > HOW.index(self.how):
            self.how = how
        self._vacate(item)
        overrun = deadlines.pardon(item)
        if overrun is not None:
            self._attempt_failed(item, overrun, now)
        else:
            self._end(item, CANCELLED if rank <= HOW.index("killed") else ABANDONED)

    def _end_run(self, outcome: str, error: BaseException | None) -> None:
        """Decide the run: end what can be ended, issue nothing more."""
        self.outcome = outcome
        self.error = error
        for item in self.starts:
            self._vacate(item)
            self._end(item, CANCELLED)
        self.starts.clear()
        self.assembles.clear()
        self._backlog.clear()
        # What has not ended is needed by a root that has not, or is not settled.
        left = [*self._fresh, *self._roots]
        self._fresh.clear()
        self._roots.clear()
        self._abolish(left)

    def _abolish(self, left: list[Item]) -> None:
        """End these items, as far as they have not, and all their inputs."""
        while left:
            item = left.pop()
            status = item.status
            if status >= SUCCEEDED:
                continue
            if status == CANCELLING:
                deadlines.pardon(item)
            elif ISSUED <= status <= RUNNING and not item.flags & EXTERNAL:
                self._cancel_call(item, None)
            else:
                left += item.inputs
                self._drop(item)

    # ------------------------------------------------------------- after an event

    def _after(self, now: float) -> None:
        """Draw the consequences that do not depend on what the event was."""
        if not self._active or not self._roots:
            self._conclude(now)
        if self._backlog:
            self._refill(now)
        if self._cancelled:
            self._alarms.arm_calls(self._cancelled, now + deadlines.GRACE)
            self._cancelled = []

    def _refill(self, now: float) -> None:
        """Issue what is ready, as far as there are workers."""
        backlog = self._backlog
        while backlog and (self._workers is None or self._calls < self._workers):
            item = backlog.popleft()
            if item.status == READY:
                self._issue(item, now, front=False)

    def _conclude(self, now: float) -> None:
        """See whether the run is decided, over or stuck."""
        while True:
            if self.outcome is None and self._begun and self._closed:
                self.outcome = None if self._roots else "succeeded"
            if self._active:
                return
            if self.outcome is not None:
                self.finished = True
                return
            if not self._roots or self._fresh or not self._begun:
                return
            stuck, error = find_knot(next(iter(self._roots)), self._name)
            self._fail(stuck, error, now)


def release(inputs: "Sequence[Item]") -> list[Item]:
    """One consumer of these has ended for good; which are needed by nobody now."""
    needless: list[Item] = []
    for producer in inputs:
        producer.wants -= 1
        if not producer.wants:
            if producer.status < SUCCEEDED:
                needless.append(producer)
            elif producer.status == SUCCEEDED and not producer.flags & PINNED:
                producer.value = None  # as drop_value does
    return needless


def drop_value(item: Item) -> None:
    """Nobody known wants the value any more."""
    if not item.flags & PINNED:
        item.value = None
