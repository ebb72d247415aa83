"""What is kept of a call that has failed, for whoever asks for a report of it.

It is kept with the error, goes when the error goes, and does not travel with it.
Nothing here calls code of the user's: most of it runs inside the hub's monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from entangle._engine_items import (
    LENIENT,
    SUCCEEDED,
    TOLERANT,
    consumers_of,
)
from entangle._worker.exception_parts import attributes_of
from entangle._worker.failures import FAILURE

if TYPE_CHECKING:
    from entangle._engine_items import Item
    from entangle._graph.node import Node

    from .calls import NodeCall
    from .run import Run


class Rest(NamedTuple):
    """What has become of the other nodes of the run.

    Attributes:
        finished: How many have a value.
        kept: How many of these are kept on disk.
        left: How many have none.
    """

    finished: int
    kept: int
    left: int


class Failed:
    """A call that has failed.

    Attributes:
        node: What was called.
        args: The arguments, with values in place of nodes; None where they are not
            kept, since the run goes on.
        kwargs: The keyword arguments, likewise.
        attempt: Which attempt it was, from 1 on; 0 if none was begun.
        seconds: How long the body has run; None if that is not known.
        pid: The process that it ran in; 0 if that is not known.
        output: The last that it has printed, where a process has told.
        run: The run's identifier, empty if nobody observes it.
        number: The node's number in the run; 0 likewise.
        needed_by: The nodes for whose sake it ran, nearest first.
        rest: The others; None as long as the run is not over.
    """

    __slots__ = (
        "args",
        "attempt",
        "kwargs",
        "needed_by",
        "node",
        "number",
        "output",
        "pid",
        "rest",
        "run",
        "seconds",
    )

    def __init__(self, node: Node[Any], attempt: int) -> None:
        self.node = node
        self.attempt = attempt
        self.args: tuple[Any, ...] | None = None
        self.kwargs: dict[str, Any] | None = None
        self.seconds: float | None = None
        self.pid = 0
        self.output = ""
        self.run = ""
        self.number = 0
        self.needed_by: list[Node[Any]] = []
        self.rest: Rest | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Stay behind when the error is pickled."""
        return _nothing, ()

    def __deepcopy__(self, memo: object) -> Failed:
        """Go along with a copy of the error."""
        return self


def _nothing() -> None:
    return None


def of(error: BaseException) -> Failed | None:
    """Return what is kept with an error; None if that is nothing."""
    found = attributes_of(error).get(FAILURE)
    return found if type(found) is Failed else None


def remember(error: BaseException, call: NodeCall) -> None:
    """Keep what is known of a call with the error that it has failed with."""
    found = Failed(call.node, call.attempt)
    item = call.item
    if call.run.pushes or not _is_value(item):
        # Where failures are values the run goes on, and its memory is to be given back.
        found.args, found.kwargs = call.args, call.kwargs
    found.output = getattr(call, "tail", "")
    seen = call.seen()
    if seen is not None:
        # Only where somebody observes is all that known.
        found.run, found.number, found.pid = seen.run, seen.node, call.pid
        if call.took:
            found.seconds = call.took / 1e9
        elif call.began:
            found.seconds = call.run.clock() - call.began
    attributes_of(error)[FAILURE] = found


def _is_value(item: Item) -> bool:
    """Tell whether somebody takes the failure of an item for its value."""
    if item.flags & LENIENT:
        return True
    return any(consumer.flags & TOLERANT for consumer in consumers_of(item))


def note_path(
    error: BaseException, node: Node[Any], needed_by: list[Node[Any]], attempt: int
) -> None:
    """Keep which nodes needed the one that has failed, perhaps without being called."""
    found = of(error)
    if found is None or found.node is not node:
        found = attributes_of(error)[FAILURE] = Failed(node, attempt)
    found.needed_by = needed_by


def note_rest(error: BaseException, run: Run, root: Item) -> None:
    """Keep what has become of the other nodes of a run that is over."""
    finished = kept = count = 0
    activation: Any = root.node
    for item in activation.items if run.pushes else list(run.items.values()):
        count += 1
        if item.status == SUCCEEDED:
            finished += 1
            kept += item.options.cache is True
    rest = Rest(finished, kept, count - finished)
    several = run.pushes and isinstance(error, BaseExceptionGroup)
    for each in (error, *(error.exceptions if several else ())):
        found = of(each)
        if found is not None:
            found.rest = rest
