"""What happens in a run, as values that observers are given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run.

    Attributes:
        run: The run's identifier: unique among all runs of all processes.
        time: When, in seconds since the epoch.
    """

    run: str
    time: float


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run has begun: the first of its events.

    Attributes:
        nodes: How many nodes its graph has, as far as it is known; tasks may return
            more.
        name: The name of the task whose value was asked for, empty if there are
            several.
    """

    nodes: int
    name: str


@dataclass(frozen=True, slots=True)
class NodeEvent(Event):
    """Something that happened to a node of a run.

    Attributes:
        node: The node's number in the run, from 1 on.
        name: The name of its task.
    """

    node: int
    name: str


@dataclass(frozen=True, slots=True)
class NodeStarted(NodeEvent):
    """The body of a node's task was entered.

    Attributes:
        attempt: Which attempt this is, from 1 on.
        place: Where it runs: ``'process'``, ``'thread'`` or a target.
    """

    attempt: int
    place: str


@dataclass(frozen=True, slots=True)
class NodeOutput(NodeEvent):
    """A node's task has printed whole lines.

    Attributes:
        stream: ``'stdout'`` or ``'stderr'``.
        text: What was printed.
    """

    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeEnded(NodeEvent):
    """An attempt to run a node's task is over.

    Attributes:
        attempt: Which attempt this was, from 1 on.
        outcome: ``'succeeded'``; ``'expanded'``: it has returned nodes, which run
            next; ``'failed'``; or how it was cancelled: ``'killed'``,
            ``'abandoned'``, ``'already done'``, ``'cannot kill'``, ``'unconfirmed'``.
            ``'skipped'``, as attempt 0: a node of a flow that no value has reached.
        error: What was raised, in one line; empty unless it has failed.
        cached: Whether the value was kept by an earlier call; nothing was started.
    """

    attempt: int
    outcome: str
    error: str
    cached: bool = False


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """A run is over: the last of its events.

    Attributes:
        outcome: ``'succeeded'``, ``'failed'`` or ``'cancelled'``.
        error: Why it has failed, in one line; empty unless it has.
        dropped: How many events this observer was not given, since it was too slow.
    """

    outcome: str
    error: str
    dropped: int
