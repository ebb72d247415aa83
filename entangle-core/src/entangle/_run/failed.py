"""What is kept of a call that has failed, for whoever asks for a report of it.

It is kept with the error, goes when the error goes, and does not travel with it.
Nothing here calls code of the user's: most of it runs inside the hub's monitor.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._engine_items import SUCCEEDED
from entangle._graph.walk import substitute
from entangle._worker.attach import SMALL, Parcel
from entangle._worker.exception_parts import attributes_of
from entangle._worker.failures import FAILURE
from entangle._worker.preview import preview

from .values import ENCODED, Encoded, Parts

if TYPE_CHECKING:
    from entangle._engine_items import Item
    from entangle._graph.node import Node

    from .calls import NodeCall
    from .run import Run

MOST: Final = 12  # arguments that are kept
_CONTAINERS: Final = frozenset((list, tuple, dict, set))
_ENCODED: Final = ENCODED | {Parcel}
_NUMBERS: Final = frozenset((bool, int, float, complex, type(None)))


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
        args: The first arguments, with values in place of nodes, or words for them;
            None where the call was never made.
        kwargs: The first keyword arguments, likewise.
        count: How many positional arguments there were.
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
        "count",
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
        self.count = 0
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
    # What runs in this process is in the error's traceback, values and all.
    here = call.run.pool.inline or call.options.how != "process"
    found.count = len(call.args)
    found.args = tuple([_kept(value, here=here) for value in call.args[:MOST]])
    named = islice((call.kwargs or {}).items(), MOST)
    found.kwargs = {name: _kept(value, here=here) for name, value in named}
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


class Words:
    """Stands for a value in a few words: one that is too large to be kept."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _kept(value: Any, *, here: bool) -> Any:
    """Return a value, or where it is large, words for it: memory is given back."""
    if type(value) is Encoded:
        value = value.parcel
    if type(value) is Parts:
        value = value.structure
        here = False  # what is in it is encoded
    if type(value) in _CONTAINERS and len(value) <= MOST:
        return substitute(value, partial(_kept, here=here), _ENCODED)
    if type(value) is Parcel:
        if value.held or value.loose > SMALL:
            return Words(value.shown or f"<{value.nbytes + len(value.data):,} bytes>")
        return value
    if here or type(value) in _NUMBERS:
        return value
    return Words(preview(value))


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
    whole: Any = error
    errors: list[Any] = [whole]
    if run.pushes and isinstance(error, BaseExceptionGroup):
        errors += whole.exceptions
    for each in errors:
        found = of(each)
        if found is not None:
            found.rest = rest
