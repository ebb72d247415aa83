"""What has become of the nodes of a run so far: what displays and reports show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from entangle._seam.events import (
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeRetried,
    NodeStarted,
    RunEnded,
    RunStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from entangle._seam.events import Event

WAITING: Final = "waiting"
RUNNING: Final = "running"
DIED: Final = "died"
LAST_LINES: Final = 20  # of what a node has printed


class NodeState:
    """One node.

    Attributes:
        node: Its number.
        name: The name of its task.
        where: The line that built it.
        place: Where it runs; empty if it has no body.
        inputs: The numbers of the nodes that it waits for.
        parent: The node that has returned it, 0 if none has.
        state: ``'waiting'``, ``'running'``, how its last attempt ended, or ``'died'``
            with the program.
        ended: The end of its last attempt; None before.
        began: When the attempt that runs has begun, in seconds since the epoch.
        attempt: Which attempt that is.
        pid: The process that it runs in.
        lines: The last of what it has printed, with the names of the streams.
    """

    __slots__ = (
        "attempt",
        "began",
        "ended",
        "inputs",
        "lines",
        "name",
        "node",
        "parent",
        "pid",
        "place",
        "state",
        "where",
    )

    def __init__(
        self,
        node: int,
        name: str,
        where: str = "",
        place: str = "?",
        inputs: tuple[int, ...] = (),
        parent: int = 0,
    ) -> None:
        self.node = node
        self.name = name
        self.where = where
        self.place = place
        self.inputs = inputs
        self.parent = parent
        self.state = WAITING
        self.ended: NodeEnded | None = None
        self.began = 0.0
        self.attempt = 0
        self.pid = 0
        self.lines: list[tuple[str, str]] | None = None

    @property
    def seconds(self) -> float:
        """How long its last attempt took; 0 before its end."""
        ended = self.ended
        return 0.0 if ended is None or not ended.started else ended.time - ended.started


class RunState:
    """One run.

    Attributes:
        begun: Its first event.
        over: Its last one; None before.
        nodes: Its nodes, by number.
        running: Those that are running, the one that has begun first in front.
        failed: Those whose last attempt has failed, or has died with the program.
        done: How many have ended well, or were skipped.
        total: How many have a body.
    """

    def __init__(self, begun: RunStarted) -> None:
        self.begun = begun
        self.over: RunEnded | None = None
        self.nodes: dict[int, NodeState] = {}
        self.running: dict[int, NodeState] = {}
        self.failed: dict[int, NodeState] = {}
        self.done = 0
        self.total = 0
        self.now = begun.time
        self.work = 0.0  # seconds in bodies
        self._slow: list[NodeState] = []
        self._least = 0.0  # seconds, of the slowest

    def take(self, events: Iterable[Event]) -> None:
        """Take note of events, in their order."""
        for event in events:
            kind = type(event)
            if kind is NodeEnded:
                self._end(event)  # type: ignore[arg-type]
            elif kind is NodeStarted:
                self._start(event)  # type: ignore[arg-type]
            elif kind is NodeAdded:
                self._add(event)  # type: ignore[arg-type]
            elif kind is NodeOutput:
                self._print(event)  # type: ignore[arg-type]
            elif kind is NodeRetried:
                node = self._of(event)  # type: ignore[arg-type]
                self.failed.pop(node.node, None)
                node.state = WAITING
            elif kind is RunEnded:
                self.over = event  # type: ignore[assignment]
            self.now = max(self.now, event.time)

    def died(self) -> None:
        """Take note that its program has ended before it, and what ran with it."""
        for node in self.running.values():
            node.state = DIED
        self.failed |= self.running
        self.running.clear()

    def slowest(self, most: int) -> list[NodeState]:
        """Return those that took longest, the longest first."""
        self._settle()
        return self._slow[:most]

    def critical_path(self) -> Sequence[NodeState]:
        """Return the nodes that the run has waited for, one after the other."""
        nodes = self.nodes
        last = max(
            (node for node in nodes.values() if node.ended and node.ended.started),
            key=_end_of,
            default=None,
        )
        path: list[NodeState] = []
        seen: set[int] = set()
        while last is not None and last.node not in seen:
            seen.add(last.node)
            path.append(last)
            last = max(self._before(last), key=_end_of, default=None)
        return path[::-1]

    def sources(self, node: NodeState) -> list[int]:
        """Return the nodes with a body that one waits for, through those without one."""
        waiting, found, seen = [*reversed(node.inputs)], list[int](), set[int]()
        while waiting:
            number = waiting.pop()
            other = self.nodes.get(number)
            if other is None or number in seen:
                continue
            seen.add(number)
            if other.place:
                found.append(number)
            else:
                waiting.extend(reversed(other.inputs))
        return found

    def _before(self, node: NodeState) -> list[NodeState]:
        """Return the nodes that one has waited for, as far as they have run."""
        numbers = self.sources(node)
        if not numbers and node.parent:
            numbers = [node.parent]
        found = [self.nodes[number] for number in numbers if number in self.nodes]
        return [each for each in found if each.ended is not None and each.ended.started]

    def _of(
        self, event: NodeStarted | NodeEnded | NodeOutput | NodeRetried
    ) -> NodeState:
        node = self.nodes.get(event.node)
        if node is None:
            # Its begin is missing: a log was damaged, or events were dropped.
            node = self.nodes[event.node] = NodeState(event.node, event.name)
            self.total += 1
        return node

    def _add(self, event: NodeAdded) -> None:
        if event.node in self.nodes:
            return
        self.nodes[event.node] = NodeState(
            event.node,
            event.name,
            event.where,
            event.place,
            event.inputs,
            event.parent,
        )
        self.total += bool(event.place)

    def _start(self, event: NodeStarted) -> None:
        node = self._of(event)
        node.state = RUNNING
        node.began, node.attempt, node.pid = event.time, event.attempt, event.pid
        self.running[node.node] = node
        self.failed.pop(node.node, None)

    def _end(self, event: NodeEnded) -> None:
        node = self._of(event)
        self.running.pop(node.node, None)
        node.state, node.ended, node.attempt = event.outcome, event, event.attempt
        node.pid = event.pid
        if event.started:
            seconds = event.time - event.started
            self.work += seconds
            if seconds > self._least:
                self._slow.append(node)
                if len(self._slow) > 4 * _SLOWEST:
                    self._settle()
        if event.outcome == "failed" or event.error:
            self.failed[node.node] = node
        elif event.outcome in {"succeeded", "expanded", "skipped"}:
            self.failed.pop(node.node, None)
            self.done += 1

    def _print(self, event: NodeOutput) -> None:
        node = self._of(event)
        if node.lines is None:
            node.lines = []
        last = event.text[-(1 << 16) :].splitlines()[-LAST_LINES:]
        node.lines += [(event.stream, text) for text in last]
        del node.lines[:-LAST_LINES]

    def _settle(self) -> None:
        self._slow.sort(key=lambda node: -node.seconds)
        del self._slow[_SLOWEST:]
        if len(self._slow) == _SLOWEST:
            self._least = self._slow[-1].seconds


_SLOWEST: Final = 100


def _end_of(node: NodeState) -> tuple[float, int]:
    return 0.0 if node.ended is None else node.ended.time, node.node
