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
