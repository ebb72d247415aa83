"""What a run has noted of itself, made into events for those who observe it.

The run notes as little as it can, many calls at a time; what is wanted of it is made
here, on a thread that no run waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from entangle._graph.callables import kind_of
from entangle._graph.frames import position
from entangle._graph.node import Node
from entangle._graph.program import choice_name, is_choice
from entangle._seam.events import (
    Event,
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeRetried,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle._worker.preview import preview

from .calls import Expansion

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from types import CodeType

    from entangle._graph.options import Options

    # The name of a method of `Teller`, what it is given, and how many events that are.
    Note = tuple[str, Any, int]

ALL: Final[frozenset[type]] = frozenset(
    (
        RunStarted,
        NodeAdded,
        NodeStarted,
        NodeOutput,
        NodeEnded,
        NodeRetried,
        NodeSpan,
        RunEnded,
    )
)
# Values whose `repr` is short whatever they are.
_SHORT: Final = frozenset((bool, float, type(None)))
_LARGE: Final = 1 << 64
# As fast as can be: most events are of this type.
_ended: Final[Any] = tuple.__new__  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


# What is noted of a call that is over: node, name, attempt, options; since when it was
# ready and when it began, as of the monotonic clock (the latter is 0 where it follows
# from how long it took, -1 where it never began); how many ns it took; its process;
# whether its start was told; its value, if that is an atom, else as `Shown`; its size.
Ended: TypeAlias = (
    "tuple[int, str, int, Options, float, float, int, int, bool, Any, int]"
)


# What is noted of a node: the name of its task, the code that has built it.
Described: TypeAlias = "tuple[str, CodeType | str, int]"


class Shown(str):
    """A value that was made into a few words already."""

    __slots__ = ()


class Teller:
    """Makes the events of one run for some observers. On their thread only."""

    def __init__(
        self,
        run: str,
        epoch: float,
        wants: Container[type],
        numbers: Mapping[Any, int],
    ) -> None:
        """Begin.

        Args:
            run: The run's identifier.
            epoch: When the monotonic clock was 0, in seconds since the epoch.
            wants: The types of events that somebody wants.
            numbers: The numbers of the run's items.
        """
        self.run = run
        self.epoch = epoch
        self.events: list[Any] = []
        self._numbers = numbers
        self._wants_added = NodeAdded in wants
        self._wants_started = NodeStarted in wants
        self._wants_output = NodeOutput in wants
        self._wants_ended = NodeEnded in wants
        self._wants_retried = NodeRetried in wants
        self._wants_span = NodeSpan in wants
        self._places: dict[int, tuple[Options, str]] = {}
        # By the identity of code, which is slow to hash and kept alive by its entry.
        self._lines: dict[tuple[int, int], tuple[CodeType, str]] = {}
        self.over = False

    def whole(self, event: Event) -> None:
        """An event that is one already."""
        self.events.append(event)

    def added(self, noted: tuple[float, int, list[Any], int]) -> None:
        """Nodes were added: from a number on, with inputs and options."""
        if not self._wants_added:
            return
        now, number, rows, parent = noted
        run, moment, numbers = self.run, self.epoch + now, self._numbers
        place, line, tell = self._place, self._line, self.events.append
        for node, inputs, options in rows:
            name, code, lasti = described(node)
            if inputs and type(inputs[0]) is not int:
                inputs = tuple([numbers.get(each, 0) for each in inputs])  # noqa: PLW2901
            tell(
                NodeAdded(
                    run,
                    moment,
                    number,
                    name,
                    inputs,
                    line(code, lasti),
                    place(options),
                    parent,
                )
            )
            number += 1

    def started(self, noted: tuple[float, int, str, int, Options, int]) -> None:
        """The body of a call was entered."""
        if self._wants_started:
            began, node, name, attempt, options, pid = noted
            self.events.append(
                NodeStarted(
                    self.run,
                    self.epoch + began,
                    node,
                    name,
                    attempt,
                    self._place(options),
                    pid,
                )
            )

    def succeeded(self, noted: tuple[float, list[Ended]]) -> None:
        """Calls have returned values; what came together was told together.

        Of a quick call only how long it took is known. Those of one process ran one
        after the other, the last one until just now, or a little before.
        """
        now, rows = noted
        run, epoch, later = self.run, self.epoch, dict[int, float]()
        starts, ends = self._wants_started, self._wants_ended
        made: list[Event] = []
        tell = made.append
        of = None
        place = shown = ""
        # From behind, since each has ended when the next one began.
        for row in reversed(rows):
            (
                node,
                name,
                attempt,
                options,
                queued,
                began,
                took,
                pid,
                told,
                value,
                size,
            ) = row
            if options is not of:
                of, place = options, self._place(options)
            if began:
                ended = min(began + took * 1e-9, now) if took else now
            else:
                ended = later.get(pid, now)
                later[pid] = began = ended - took * 1e-9
            begun = epoch + began
            if ends:
                kind = kind_of(value)
                if kind is Shown:
                    shown = value
                elif kind in _SHORT or (kind is int and -_LARGE < value < _LARGE):
                    shown = repr(value)
                else:
                    shown = preview(value)
                tell(
                    _ended(
                        NodeEnded,
                        (
                            run,
                            epoch + ended,
                            node,
                            name,
                            attempt,
                            "succeeded",
                            "",
                            False,
                            epoch + queued if queued else begun,
                            begun,
                            place,
                            pid,
                            shown,
                            size,
                        ),
                    )
                )
            if starts and not told:
                tell(NodeStarted(run, begun, node, name, attempt, place, pid))
        made.reverse()
        self.events += made

    def ended(self, noted: tuple[float, Ended, str, str, bool]) -> None:
        """A call is over."""
        now, row, outcome, error, cached = noted
        node, name, attempt, options, queued, began, took, pid, told, value, size = row
        ended = now
        if not began:
            began = now - took * 1e-9
        elif began > 0 and took:
            ended = min(began + took * 1e-9, now)
        place = self._place(options)
        begun = self.epoch + began if began > 0 else 0.0
        if self._wants_started and not told and began > 0:
            self.events.append(
                NodeStarted(self.run, begun, node, name, attempt, place, pid)
            )
        if self._wants_ended:
            self.events.append(
                NodeEnded(
                    self.run,
                    self.epoch + ended,
                    node,
                    name,
                    attempt,
                    outcome,
                    error,
                    cached,
                    self.epoch + queued if queued else begun,
                    begun,
                    place,
                    pid,
                    value if type(value) is Shown else preview(value),
                    size,
                )
            )

    def skipped(self, noted: tuple[float, int, str]) -> None:
        """A node of a flow does not run."""
        now, node, name = noted
        if self._wants_ended:
            self._not_run(self.epoch + now, node, name, "skipped")

    def printed(self, noted: tuple[float, int, str, str, str]) -> None:
        """A call has printed lines."""
        if self._wants_output:
            now, node, name, stream, text = noted
            self.events.append(
                NodeOutput(self.run, self.epoch + now, node, name, stream, text)
            )

    def retried(self, noted: tuple[float, int, str, int]) -> None:
        """A node will be tried once more."""
        now, node, name, attempt = noted
        if self._wants_retried:
            self.events.append(
                NodeRetried(self.run, self.epoch + now, node, name, attempt)
            )

    def span(self, event: NodeSpan) -> None:
        """A call has told of a part of it."""
        if self._wants_span:
            self.events.append(event)

    def not_run(self, noted: tuple[float, list[tuple[int, str]]]) -> None:
        """The run ends before some nodes."""
        if self._wants_ended:
            now, rows = noted
            for node, name in rows:
                self._not_run(self.epoch + now, node, name, "not run")

    def finished(self, event: RunEnded) -> None:
        """The run is over."""
        self.events.append(event)
        self.over = True

    def _not_run(self, moment: float, node: int, name: str, outcome: str) -> None:
        self.events.append(NodeEnded(self.run, moment, node, name, 0, outcome, ""))

    def _place(self, options: Options) -> str:
        known = self._places.get(id(options))
        if known is None:
            known = self._places[id(options)] = options, shown_place(options)
        return known[1]

    def _line(self, code: CodeType | str, lasti: int) -> str:
        if isinstance(code, str):
            return code
        known = self._lines.get((id(code), lasti))
        if known is None:
            line, _ = position(code, lasti)
            known = code, f"{code.co_filename}:{line}"
            self._lines[id(code), lasti] = known
        return known[1]


def described(node: Any) -> Described:
    """Return the name of a node's task, and the code that has built the node.

    Args:
        node: A node, what has taken its place in the run, or what this has returned.
    """
    if kind_of(node) is tuple:
        return cast("Described", node)
    if kind_of(node) is Expansion:
        node = node.node
    if kind_of(node) is not Node:
        return "a run under way", "", 0
    built = cast("Node[Any]", node)
    name = choice_name(built) if is_choice(built) else built.task.name
    return name, built.code, built.lasti


def shown_place(options: Options) -> str:
    """Return where calls run, for people; whatever it takes to show it."""
    if options.how == "assemble":
        return ""
    place = options.executor
    if place is None:
        return options.how
    try:
        return str(place)
    except Exception:
        return kind_of(place).__name__
