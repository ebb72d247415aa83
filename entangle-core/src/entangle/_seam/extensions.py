"""What plugins give to the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

Verdict = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One thing that ``entangle doctor`` has looked at.

    Attributes:
        verdict: ok, warn (works, but) or fail (doesn't work).
        subject: What was looked at, in a word or two.
        text: What was found.
        remedy: What to do about it; empty when ok.
    """

    verdict: Verdict
    subject: str
    text: str
    remedy: str = ""


class Command(NamedTuple):
    """A command of ``entangle``.

    Attributes:
        name: What it is called by.
        summary: What it does, in a line.
        configure: Declares its arguments.
        execute: Does the work and returns the exit code: 0 ok, 1 a node failed, 2
            usage, 3 invalid graph or configuration.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], object]
    execute: Callable[[argparse.Namespace], int]


class Benchmark(NamedTuple):
    """One way to do some work: a row of the table that ``entangle bench`` prints.

    All rows of a work are measured in turns, so that they compare.

    Attributes:
        work: What is done: one of core's works (``call``, ``fanout``, ``there``, …; see
            ``entangle bench --help``), or one of the plugin's own.
        name: What the row is called.
        measure: Does it at a scale (1 is full, 0.05 a quick look) and returns what one
            unit has cost. It checks what it gets, and raises where that is wrong.
        unit: What the cost is in; for a work of core's as there, or empty.
        title: What the work is, in a line; for a work of the plugin's own.
        beside: The row of the same work that this one is compared with.
        open: Makes it ready and warm, before each measurement; not measured.
        close: Ends what `open` has begun; called also where `measure` has raised.
        missing: Says in a few words why it can't be measured here; empty if it can.
    """

    work: str
    name: str
    measure: Callable[[float], float]
    unit: str = ""
    title: str = ""
    beside: str = "entangle process"
    open: Callable[[], object] | None = None
    close: Callable[[], object] | None = None
    missing: Callable[[], str] | None = None


class Leftover(NamedTuple):
    """Something that a run has left in an infrastructure.

    Attributes:
        kind: What it is: container, job, queue.
        name: Which one.
        age: Its age in seconds.
        remove: Removes it; may raise.
    """

    kind: str
    name: str
    age: float
    remove: Callable[[], object]
