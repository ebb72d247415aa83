"""What the engine knows about one node of a run.

Plain data without behaviour: only the engine changes it. The driver reads the
attributes that `Item` lists under "Attributes", and nothing else.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entangle._graph.options import Options

# Statuses, in an order that makes `status >= SUCCEEDED` mean "has ended".
WAITING: Final = 0  # for its inputs
READY: Final = 1  # its inputs are there, the run's workers are all taken
ISSUED: Final = 2  # given out to be started
RUNNING: Final = 3  # its body was entered
CANCELLING: Final = 4  # told to end, not confirmed
SLEEPING: Final = 5  # until its next attempt
EXPANDING: Final = 6  # its body returned nodes, which have not all ended
ASSEMBLING: Final = 7  # given out to have its value built from those of its inputs
SUCCEEDED: Final = 8
FAILED: Final = 9  # by itself, or for want of an input that did
CANCELLED: Final = 10  # not needed any more; nothing of it runs
ABANDONED: Final = 11  # not needed any more; its call may still run
SKIPPED: Final = 12  # pushed, but a parent failed or none ran: it never starts

STATES: Final = (
    "waiting",
    "ready",
    "issued",
    "running",
    "cancelling",
    "sleeping",
    "expanding",
    "assembling",
    "succeeded",
    "failed",
    "cancelled",
    "abandoned",
    "skipped",
)

# Flags. The usual ones are low: CPython keeps integers up to 256 ready made.
ROOT: Final = 1  # its outcome is still to be delivered
TOLERANT: Final = 2  # failures of its inputs arrive as values
ASSEMBLE: Final = 4  # has no body: its value is built from those of its inputs
TIMED: Final = 8  # has a bound on its start or on its body
WAITS: Final = 16  # has a bound on its inputs
WATCHED: Final = 32  # among the (transitive) inputs of an item that WAITS
BEGUN: Final = 64  # WATCHED, and its body or that of an input was entered
EXTERNAL: Final = 128  # runs elsewhere, already: never issued, never cancelled
LENIENT: Final = 256  # a root whose failure does not fail the run
DOOMED: Final = 512  # was linked to an input that had failed
PINNED: Final = 1024  # its value is kept, whoever has taken it
PUSH: Final = 2048  # fires when its inputs are decided, with those that ran
HINDERED: Final = 4096  # PUSH, and an input has failed or was skipped


class Extra:
    """What only items with deadlines, retries or a pending cancel need.

    Attributes:
        token: Its live alarm, 0 for none; what it bounds follows from the status.
        overrun: The deadline that its running call has missed, while the end of
            that call is not confirmed.
        errors: How its earlier attempts failed.
    """

    __slots__ = ("errors", "overrun", "token")

    def __init__(self) -> None:
        self.token = 0
        self.overrun: BaseException | None = None
        self.errors: list[BaseException] = []


class Item:
    """One node of a run.

    Attributes:
        node: The caller's payload; the engine never looks into it.
        options: How the node wants to be run.
        inputs: The items whose values it takes, in the order they were linked; of an
            expanded item those that its body returned.
        value: The outcome: of a succeeded item its value (None once dropped), of a
            failed one the exception.
        attempt: How many attempts were begun, the current one included.
        status: One of the constants of this module.
    """

    __slots__ = (
        "attempt",
        "consumers",
        "flags",
        "inputs",
        "node",
        "options",
        "pending",
        "status",
        "value",
        "wants",
    )

    # Most have none, and do without the room for it: see `Bounded`.
    extra: "Extra | None" = None

    def __init__(self, node: object, options: "Options", flags: int) -> None:
        self.node = node
        self.options = options
        self.flags = flags
        self.inputs: Sequence[Item] = ()
        # Alone, or in a list where there are several: most nodes have one consumer.
        self.consumers: Item | list[Item] | None = None
        # Inputs that have not ended, plus one until its batch is settled.
        self.pending = 1
        # Consumers that have not ended, plus one for a root that was not collected.
        self.wants = 0
        self.status: int = WAITING
        self.attempt = 0
        self.value: object = None

    @property
    def error(self) -> BaseException | None:
        """The exception of a failed item, else None."""
        if self.status == FAILED and isinstance(self.value, BaseException):
            return self.value
        return None

    @property
    def spent(self) -> bool:
        """Whether nothing can be linked to it any more.

        Its value was dropped, or it was cancelled: whoever needs its node again adds
        a new item for it.
        """
        if self.status in {CANCELLED, ABANDONED, SKIPPED}:
            return True
        if self.wants or (self.flags & PINNED and self.status == SUCCEEDED):
            return False
        return self.status in {CANCELLING, SUCCEEDED}

    @property
    def wants_start(self) -> bool:
        """Whether the engine must be told when its body is entered."""
        flags = self.flags
        return flags & TIMED != 0 or flags & (WATCHED | BEGUN) == WATCHED

    @property
    def state(self) -> str:
        """Its status in words."""
        return STATES[self.status]

    def __repr__(self) -> str:
        return f"<Item {self.state}, attempt {self.attempt}, {len(self.inputs)} inputs>"


class Bounded(Item):
    """An item that may have deadlines or further attempts."""

    __slots__ = ("extra",)

    def __init__(self, node: object, options: "Options", flags: int) -> None:
        super().__init__(node, options, flags)
        self.extra = None


def consumers_of(item: Item) -> "Sequence[Item]":
    """The items that take the value of `item`, as far as it has not ended."""
    consumers = item.consumers
    if consumers is None:
        return ()
    if isinstance(consumers, Item):
        return (consumers,)
    return consumers


def failure_path(item: Item) -> list[Item]:
    """From a failed item down to the one whose own failure it was.

    Args:
        item: Any failed item.

    Returns:
        The chain of inputs that carry the same error: `item` first.
    """
    path = [item]
    # An item that returned a node which needs it is among its own inputs.
    seen = {item}
    while True:
        for producer in path[-1].inputs:
            failed = producer.status == FAILED and producer.value is item.value
            if failed and producer not in seen:
                path.append(producer)
                seen.add(producer)
                break
        else:
            return path
