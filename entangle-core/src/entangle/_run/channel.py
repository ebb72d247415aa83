"""The inputs of a stream on their way into its run, the outcomes on their way out."""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from entangle._graph.values import brief
from entangle.errors import FlowError

from . import current
from .activation import Activation
from .values import objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._engine_items import Item
    from entangle._pool.pool import Pool

    from .push import PushRun


# Inputs that are fed together, while others are under way.
BATCH = 32


class Outcome:
    """What came of one input: a value or an error."""

    __slots__ = ("error", "index", "input", "value")

    def __init__(
        self, activation: Activation, value: Any, error: BaseException | None
    ) -> None:
        self.index = activation.index
        self.input = activation.input
        self.value = value
        self.error = error

    def result(self) -> Any:
        """Return the value as an object of this process.

        Raises:
            TaskError: it can't be rebuilt here.
        """
        return objects(self.value)


class Channel:
    """The state of one stream, but for its source. Used by one thread.

    Of the inputs that were offered and whose outcomes were not taken there are never
    more than `room` allows; those that have landed and wait for their turn included.
    """

    def __init__(self, pool: Pool, run: PushRun, buffer: int, *, ordered: bool) -> None:
        self.pool = self._pool = pool
        self.run = self._run = run
        self._buffer = buffer
        self._ordered = ordered
        self._count = 0  # inputs offered
        self._taken = 0  # outcomes taken
        self._landed_count = 0
        self._fed = 0
        self._batch = min(BATCH, max(1, buffer // 4))
        self._program = run.program
        self._offered: list[tuple[Activation, Any]] = []  # not fed yet
        self._early: dict[int, Outcome] = {}  # landed out of turn
        self._ready: deque[Outcome] = deque()
        self._queue: SimpleQueue[Outcome | None] = SimpleQueue()
        self.ended = False  # whether the run is over, unasked
        # Called, on any thread, when something has landed.
        self.on_landed: Callable[[], None] | None = None
        run.on_delivery = self._delivered
        run.on_finished = self._finished

    # -- inside the monitor ------------------------------------------------------

    def _delivered(self, item: Item, error: BaseException | None) -> None:
        activation: Any = item.node
        value = None if error is not None else item.value
        self._run.engine.collected(item)
        self._queue.put(Outcome(activation, value, error))
        if self.on_landed is not None:
            self.on_landed()

    def _finished(self) -> None:
        self._queue.put(None)
        if self.on_landed is not None:
            self.on_landed()

    # -- on the thread that takes outcomes ---------------------------------------

    @property
    def room(self) -> bool:
        """Whether another input may be offered."""
        return self._count - self._taken < self._buffer

    @property
    def flowing(self) -> bool:
        """Whether so many inputs are under way that the stages have enough to do."""
        return (self._count - self._landed_count) * 2 > self._buffer

    @property
    def empty(self) -> bool:
        """Whether all that was offered has been taken."""
        return self._count == self._taken

    def offer(self, value: Any) -> None:
        """Send an input on its way, soon; there must be room."""
        run, offered = self._run, self._offered
        if not offered:
            # What its functions take may have become known, or another.
            self._program = run.fitting(run.program)
        activation = Activation(self._program, value, self._count)
        self._count += 1
        offered.append((activation, run.encoded_input(value)))
        if len(offered) >= self._batch or (self._fed - self._landed_count) * 4 <= (
            self._buffer
        ):
            self.push()

    def push(self) -> None:
        """Send all that was offered on its way."""
        if self._offered:
            batch, self._offered = self._offered, []
            self._fed += len(batch)
            self._run.hub.post(self._run.feed, batch)

    def poll(self) -> bool:
        """Look what has landed; tell whether an outcome can be taken."""
        queue = self._queue
        while True:
            try:
                landed = queue.get_nowait()
            except Empty:
                return bool(self._ready)
            self._sort_in(landed)

    def wait(self) -> None:
        """Wait until something lands, or the run is over."""
        self.push()
        with current.outside_limit(self._pool):
            self._sort_in(self._pool.next_landed(self._queue, None))

    def take(self) -> Outcome:
        """Take the next outcome, which is there."""
        self._taken += 1
        return self._ready.popleft()

    def _sort_in(self, outcome: Outcome | None) -> None:
        if outcome is None:
            self.ended = True
            return
        self._landed_count += 1
        index, error = outcome.index, outcome.error
        if isinstance(error, FlowError):
            # On the group: an exception of a function's own may be raised many times.
            error.add_note(f"the input was {_shown(error.input)}")
        if not self._ordered:
            self._ready.append(outcome)
            return
        self._early[index or 0] = outcome
        # Those that are ready have had their turn already.
        turn = self._taken + len(self._ready)
        while turn in self._early:
            self._ready.append(self._early.pop(turn))
            turn += 1

    # -- ends --------------------------------------------------------------------

    def open(self) -> None:
        """Begin the run.

        Raises:
            concurrent.futures.CancelledError: the pool was shut down just now.
        """
        self._pool.admit(self._run)
        self._pool.start(self._run, more=True)

    def close(self, *, wait: bool = True) -> None:
        """End the run and what it still runs. Idempotent."""
        run = self._run
        if not run.finished:
            run.hub.post(run.no_more if self.empty else run.cancel)
            if wait:
                self._pool.finish(run)
        if wait and run.finished and run.watch is not None:
            run.watch.settle()


def _shown(value: Any) -> str:
    try:
        return brief(value)
    except Exception:
        return f"a {type(value).__qualname__}"
