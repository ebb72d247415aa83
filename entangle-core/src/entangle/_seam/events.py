"""What happens in a run, as values that observers are given.

The types are public and have a version: `EVENTS_VERSION` grows when a field or a type
goes, or comes to mean something else. New types, and new fields behind those that are
there, come without: an observer passes over what it does not know, and reads fields by
their names.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

EVENTS_VERSION: Final = 1


class RunStarted(NamedTuple):
    """A run has begun: the first of its events.

    Attributes:
        run: The run's identifier: unique among all runs of all processes.
        time: When, in seconds since the epoch.
        nodes: How many nodes of its graph run somewhere, as far as it is known; tasks
            may return more. Those that only gather values don't count.
        name: The name of the task whose value was asked for, empty if there are
            several.
        parent: The run and the node whose task has started this run; None if it was
            no task.
        trace: The identifier of its trace, 32 hexadecimal digits; empty if nobody
            traces it.
    """

    run: str
    time: float
    nodes: int
    name: str
    parent: tuple[str, int] | None = None
    trace: str = ""


class NodeAdded(NamedTuple):
    """A node has become part of a run.

    Attributes:
        run: The run's identifier.
        time: When, in seconds since the epoch.
        node: The node's number in the run, from 1 on.
        name: The name of its task.
        inputs: The numbers of the nodes that it waits for: those whose values it
            takes, and those that it comes after.
        where: The line that built it, as ``file:line``; empty if that is not known.
        place: Where its calls run: ``'process'``, ``'thread'``, ``'workflow'`` or a
            target; empty for a node without a body, a ``gather``.
        parent: The number of the node that has returned it; 0 if it was there from
            the beginning.
    """

    run: str
    time: float
    node: int
    name: str
    inputs: tuple[int, ...]
    where: str
    place: str
    parent: int = 0


class NodeStarted(NamedTuple):
    """The body of a node's task was entered.

    Of calls that take less than a millisecond this is told together with their end.

    Attributes:
        run: The run's identifier.
        time: When, in seconds since the epoch.
        node: The node's number in the run.
        name: The name of its task.
        attempt: Which attempt this is, from 1 on.
        place: Where it runs, as of `NodeAdded`.
        pid: The process that it runs in; 0 if that is not known.
    """

    run: str
    time: float
    node: int
    name: str
    attempt: int
    place: str
    pid: int = 0


class NodeOutput(NamedTuple):
    """A node's task has printed whole lines.

    Attributes:
        run: The run's identifier.
        time: When they were read, in seconds since the epoch.
        node: The node's number in the run.
        name: The name of its task.
        stream: ``'stdout'`` or ``'stderr'``.
        text: What was printed, exactly: it may hold anything.
    """

    run: str
    time: float
    node: int
    name: str
    stream: str
    text: str


class NodeEnded(NamedTuple):
    """An attempt to run a node's task is over.

    Attributes:
        run: The run's identifier.
        time: When, in seconds since the epoch.
        node: The node's number in the run.
        name: The name of its task.
        attempt: Which attempt this was, from 1 on; 0 where none was made.
        outcome: ``'succeeded'``; ``'expanded'``: it has returned nodes, which run
            next; ``'failed'``; or how it was cancelled: ``'killed'``,
            ``'abandoned'``, ``'already done'``, ``'cannot kill'``, ``'unconfirmed'``.
            As attempt 0 ``'skipped'``: a node of a flow that no value has reached, or
            ``'not run'``: the run has ended before it.
        error: What was raised, in one line; empty unless it has failed.
        cached: Whether the value was kept by an earlier call; nothing was started.
        queued: When all that it waits for was there, in seconds since the epoch; 0 if
            that never was.
        started: When its body was entered; 0 if it never was.
        place: Where it ran, as of `NodeAdded`.
        pid: The process that it ran in; 0 if that is not known.
        value: What it has returned, in a few words; its type, and its shape if it has
            one, where it is too long. Empty where that is not known.
        size: How many bytes the value takes, encoded; 0 where it is not.
    """

    run: str
    time: float
    node: int
    name: str
    attempt: int
    outcome: str
    error: str
    cached: bool = False
    queued: float = 0.0
    started: float = 0.0
    place: str = ""
    pid: int = 0
    value: str = ""
    size: int = 0


class NodeRetried(NamedTuple):
    """A node's task has failed and will be tried once more.

    Attributes:
        run: The run's identifier.
        time: When that was decided, in seconds since the epoch.
        node: The node's number in the run.
        name: The name of its task.
        attempt: The attempt that follows.
    """

    run: str
    time: float
    node: int
    name: str
    attempt: int


class NodeSpan(NamedTuple):
    """A part of a running call, told of by `entangle.run.span`.

    Attributes:
        run: The run's identifier.
        time: When it has ended, in seconds since the epoch.
        node: The node's number in the run.
        name: The name of its task.
        attempt: Which attempt it is part of.
        span: What it is called.
        started: When it has begun, in seconds since the epoch.
        attributes: What else is known of it.
    """

    run: str
    time: float
    node: int
    name: str
    attempt: int
    span: str
    started: float
    attributes: dict[str, str | int | float | bool]


class RunEnded(NamedTuple):
    """A run is over: the last of its events.

    Attributes:
        run: The run's identifier.
        time: When, in seconds since the epoch.
        outcome: ``'succeeded'``, ``'failed'`` or ``'cancelled'``.
        error: Why it has failed, in one line; empty unless it has.
        dropped: How many events this observer was not given, since it was too slow.
    """

    run: str
    time: float
    outcome: str
    error: str
    dropped: int


NodeEvent: TypeAlias = (
    NodeAdded | NodeStarted | NodeOutput | NodeEnded | NodeRetried | NodeSpan
)
Event: TypeAlias = RunStarted | NodeEvent | RunEnded
