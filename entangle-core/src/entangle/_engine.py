"""The state machine of one run: events in, commands out.

Pure: no clock, thread, I/O or logging, and no code of the user but `isinstance` with
`retry_on`. Every event is a method that carries its (monotonic) time; commands are
deques that the driver drains after each event. Events of attempts that are over, and
alarms that mean nothing any more, are ignored, so the driver needs no bookkeeping of
its own to drop late ones.

Retries, deadlines, cancellation, expansion of returned nodes, first failure and the
dropping of spent results are decided here and nowhere else. Nothing recurses, and an
event costs no more than the edges that it touches.
"""

from typing import TYPE_CHECKING, Final

from entangle._engine_deadlines import GRACE
from entangle._engine_items import (
    ASSEMBLE,
    ASSEMBLING,
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
    ROOT,
    RUNNING,
    SLEEPING,
    SUCCEEDED,
    TIMED,
    TOLERANT,
    WATCHED,
    Item,
    failure_path,
)
from entangle._engine_moves import HOW, SPECIAL, Moves, drop_value, release
from entangle._engine_waits import stir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from entangle._graph.options import Options

__all__ = ["GRACE", "HOW", "Engine", "Item", "failure_path"]

_NOTED: Final = TIMED | WATCHED
# What is said of an item's inputs, and holds no more when its body has returned others.
_OF_INPUTS: Final = TOLERANT | PUSH | HINDERED


class Engine(Moves):
    """One run of a graph.

    Build with `add`, `link` and `root`, then `begin`; later batches are built in the
    same way and settled by `settle` or `expanded`. Between the first `add` of a batch
    and what settles it no other event may be fed. Not thread-safe: one caller at a
    time, and values that it drops are finalised while it works.

    Args:
        workers: At most so many calls are issued at once (None: as many as are
            ready). Assembling, expanding, sleeping and external items don't count.
        timeout: Seconds from `begin` after which the run fails (None: never).
        seed: Of the jitter of retries.
        name: Names a node in an error.

    Attributes:
        starts: Items to start. What became ready through a result is put in front of
            what is there, so that depth goes before breadth. Best drained whole; what
            is left there can be taken back by the engine.
        assembles: Items whose value is to be built from those of their `inputs`, then
            reported by `assembled` or `unassembled`.
        cancels: (item, attempt) of calls to end. Each is answered by `ended`, by
            `succeeded` or by `failed`, else counts as unconfirmed after GRACE seconds.
        alarms: (at, token) to be reported by `alarm` when that time has come.
        deliveries: (root, error or None) of roots that have ended; the value is the
            item's, until `collected`. A run that fails or is cancelled delivers no
            more roots than had ended by then, the one that failed it included.
        outcome: 'succeeded', 'failed' or 'cancelled', once that is decided, for good.
        error: Why the outcome is 'failed'.
        finished: Whether the run is over: decided, and nothing left running.
        how: The worst of HOW over the calls that the run has cancelled.
    """

    __slots__ = ()

    def __init__(
        self,
        workers: int | None = None,
        timeout: float | None = None,
        seed: int = 0,
        name: "Callable[[object], str]" = str,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}: a run needs at least one")
        super().__init__(workers, timeout, seed, name)

    # ------------------------------------------------------------------ building

    def add(
        self,
        node: object,
        options: "Options",
        *,
        assemble: bool = False,
        external: bool = False,
    ) -> Item:
        """Add a node.

        Args:
            node: The caller's own, kept as `item.node`.
            options: How it wants to be run.
            assemble: It has no body; its value is built from those of its inputs.
            external: It runs already, elsewhere: it is never issued or cancelled, and
                `succeeded` or `failed` report its end (as attempt 1).

        Returns:
            Its item, not settled.
        """
        if not external:
            return self.add_all((node,), options, assemble=assemble)[0]
        item = self._kind(options)[2](node, options, EXTERNAL)
        self._fresh.append(item)
        return item

    def add_all(
        self,
        nodes: "Iterable[object]",
        options: "Options",
        *,
        assemble: bool = False,
    ) -> list[Item]:
        """Add several nodes that want to be run alike; as `add`."""
        known = self._kinds.get(id(options))
        _, flags, kind = known if known is not None else self._kind(options)
        if assemble:
            flags = flags & ~TIMED | ASSEMBLE
        items = [kind(node, options, flags) for node in nodes]
        self._fresh += items
        return items

    def given(self, node: object, options: "Options", value: object) -> Item:
        """Add a value that is there already, to be linked to.

        Args:
            node: The caller's own, kept as `item.node`.
            options: Of no importance.
            value: The value. It is kept until `unpin`, then as long as others are.
        """
        item = Item(node, options, PINNED)
        item.status = SUCCEEDED
        item.value = value
        return item

    def link(self, consumer: Item, producers: "Sequence[Item]") -> None:
        """Make the values of some items inputs of `consumer`; once per pair.

        Args:
            consumer: An item of the batch that is being built.
            producers: Items that are not `spent`.

        Raises:
            InternalError: A producer is spent.
        """
        if self.outcome is not None:
            return
        consumer.inputs = (*consumer.inputs, *producers)
        for producer in producers:
            status = producer.status
            if status >= CANCELLING:
                self._check(producer)
            producer.wants += 1
            if status < SUCCEEDED:
                consumer.pending += 1
                others = producer.consumers
                if others is None:
                    producer.consumers = consumer
                elif isinstance(others, Item):
                    producer.consumers = [others, consumer]
                else:
                    others.append(consumer)
            elif status == FAILED and not consumer.flags & TOLERANT:
                consumer.flags |= DOOMED

    def root(self, item: Item, *, tolerant: bool = False) -> None:
        """Have the outcome of `item` delivered.

        Args:
            item: Any item that is not `spent`. One that is still to be delivered is
                so once, and tolerantly if it was always asked for so.
            tolerant: Its failure does not fail the run.

        Raises:
            InternalError: The item is spent.
        """
        if self.outcome is not None:
            return
        if item.flags & ROOT:
            if not tolerant:
                item.flags &= ~LENIENT
            return
        self._check(item)
        item.wants += 1
        item.flags |= ROOT | LENIENT if tolerant else ROOT
        self._roots[item] = None
        if item.status >= SUCCEEDED:
            self._fresh.append(item)

    # -------------------------------------------------------------------- events

    def begin(self, now: float, *, more: bool = False) -> None:
        """Start the run with what was added.

        Args:
            now: The time, in monotonic seconds.
            more: More roots may come, until `close`.
        """
        self._begun = True
        if not more:
            self._closed = True
        if self._timeout is not None:
            self._alarms.arm_run(now + self._timeout)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Issue what is ready of the batch that was added."""
        self._settle(now, front=False)
        self._after(now)

    def close(self, now: float) -> None:
        """No more roots will be added: the run ends with those that it has."""
        self._closed = True
        self._after(now)

    def started(self, item: Item, attempt: int, at: float) -> None:
        """The body was entered at `at`; needed where `item.wants_start` says so."""
        if item.attempt != attempt or item.status != ISSUED:
            return
        item.status = RUNNING
        if item.flags & _NOTED:
            self._alarms.disarm(item)
            timeout = item.options.timeout
            if timeout is not None:
                self._alarms.arm(item, at + timeout)
            if item.flags & WATCHED:
                stir(item, self._alarms, at)

    def succeeded(self, item: Item, attempt: int, value: object, now: float) -> None:
        """The body returned `value`, which holds no nodes."""
        self.all_succeeded([(item, attempt, value)], now)

    def all_succeeded(
        self, ended: "Iterable[tuple[Item, int, object]]", now: float
    ) -> None:
        """Several bodies have returned: items, attempts, values; as `succeeded`."""
        for item, attempt, value in ended:
            if item.attempt == attempt:
                if ISSUED <= item.status <= RUNNING and not item.flags & SPECIAL:
                    # As `_returned` has it: this is the way of most.
                    self._active -= 1
                    self._calls -= 1
                elif not self._returned(item, now):
                    continue
                self._resolve(item, value, now)
        self._after(now)

    def expanded(
        self,
        item: Item,
        attempt: int,
        producers: "Iterable[Item]",
        now: float,
        *,
        value: object = None,
        tolerant: bool = False,
    ) -> None:
        """The body returned nodes; settles the batch that they brought.

        Args:
            item: Whose body returned.
            attempt: Which of its attempts.
            producers: The items of those nodes. They become its `inputs`.
            now: The time, in monotonic seconds.
            value: What was returned, kept as `item.value` until it is assembled.
            tolerant: Whether failures among them leave it to be assembled all the same.

        Raises:
            InternalError: One of the producers is spent.
        """
        if item.attempt == attempt and self._returned(item, now):
            arguments = item.inputs
            item.inputs = ()
            item.status = EXPANDING
            item.value = value
            # What is returned is pulled, however its body was fired.
            item.flags = item.flags & ~_OF_INPUTS | (TOLERANT if tolerant else 0)
            # One more, until the batch is settled.
            item.pending = 1
            self.link(item, list(dict.fromkeys(producers)))
            self._fresh.append(item)
            # Last: an argument that is returned keeps its value.
            release(arguments)
        self._settle(now, front=True)
        self._after(now)

    def assembled(self, item: Item, value: object, now: float) -> None:
        """The value of an item from `assembles` was built."""
        if item.status == ASSEMBLING:
            self._active -= 1
            if item.flags & WATCHED:
                stir(item, self._alarms, now)
            self._resolve(item, value, now)
        self._after(now)

    def unassembled(self, item: Item, error: BaseException, now: float) -> None:
        """The value of an item from `assembles` could not be built; for good."""
        if item.status == ASSEMBLING:
            self._active -= 1
            self._fail(item, error, now)
        self._after(now)

    def failed(
        self,
        item: Item,
        attempt: int,
        error: BaseException,
        now: float,
        *,
        final: bool = False,
    ) -> None:
        """The body raised, or its worker died.

        Args:
            item: Whose body or worker.
            attempt: Which of its attempts.
            error: What to raise.
            now: The time, in monotonic seconds.
            final: Trying again is pointless, whatever the options say.
        """
        if item.attempt == attempt and self._returned(item, now):
            self._attempt_failed(item, error, now, final=final)
        self._after(now)

    def ended(self, item: Item, attempt: int, how: str, now: float) -> None:
        """The answer to a cancel command.

        Args:
            item: Whose call was cancelled.
            attempt: Which of its attempts.
            how: One of HOW; 'already done' if the call had not been started or was
                over, so that nothing had to be ended.
            now: The time, in monotonic seconds.
        """
        if item.attempt == attempt and item.status == CANCELLING:
            self._confirmed(item, how, now)
        self._after(now)

    def alarm(self, token: int, now: float) -> None:
        """The time of an alarm has come.

        Results that have arrived by then are to be reported first: they win.
        """
        try:
            owner = self._alarms.take(token)
        except KeyError:
            return
        if owner is None:
            self._overrun_run()
        elif not isinstance(owner, Item):
            for item, attempt in owner:
                if item.attempt == attempt and item.status == CANCELLING:
                    self._confirmed(item, "unconfirmed", now)
        elif owner.status == SLEEPING:
            self._active -= 1
            self._enqueue(owner, now)
        else:
            self._overrun(owner, now)
        self._after(now)

    def cancel(self, now: float) -> None:
        """End the run, unless its outcome is decided already."""
        if self.outcome is None:
            self._end_run("cancelled", None)
        self._after(now)

    def collected(self, root: Item) -> None:
        """The value of a delivered root was taken: it is not kept for that any more."""
        root.wants -= 1
        if not root.wants and root.status == SUCCEEDED:
            drop_value(root)

    def pin(self, item: Item) -> None:
        """Keep the value of `item`, which is not spent, until `unpin`."""
        item.flags |= PINNED

    def unpin(self, item: Item) -> None:
        """Keep the value of `item` no longer than others want it."""
        item.flags &= ~PINNED
        if not item.wants and item.status == SUCCEEDED:
            drop_value(item)
