"""The nouns of job places: what is created, what is heard of it, what is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from entangle._graph.options import Options

State = Literal["waiting", "running", "ended", "gone"]


class Job(NamedTuple):
    """A job to be created.

    Attributes:
        name: Its name, which no other job has: up to 48 lower-case letters, digits
            and ``-``. Good for making creation idempotent.
        task: The name of the task, for people.
        payload: What its program is told: a line of JSON in ASCII. Where its call lies,
            in some thousand bytes at most; or the whole call, if it is as small as
            `JobExecutor.inline_bytes`.
        command: What a Python 3.9 or newer has to be given as arguments.
        environment: The variables that it needs then; ``payload`` is in there.
        tags: What everything that is made for it has to carry, so that it can be
            found: names of letters and ``-``, values of letters, digits, ``-``, ``_``,
            ``.``, each of 63 characters at most.
        expires: When it must have ended, whatever becomes of the client, in seconds
            since the epoch. Its program ends itself then; what may live on without it
            (a machine, a queue entry) has to be given a limit of its own.
        options: How the task wants to be run.
        answer_key: Under which its program leaves its answer in the store.
    """

    name: str
    task: str
    payload: bytes
    command: tuple[str, ...]
    environment: Mapping[str, str]
    tags: Mapping[str, str]
    expires: float
    options: Options
    answer_key: str


class JobState(NamedTuple):
    """What a place says of a job.

    Attributes:
        state: ``'waiting'`` (it has not begun), ``'running'``, ``'ended'``, or
            ``'gone'`` (the place knows nothing of it).
        reason: Why it waits, or has ended, as the place says it.
        exit_code: What its program has exited with; None if that is not known.
        out_of_memory: Whether it was ended for its memory.
    """

    state: State
    reason: str = ""
    exit_code: int | None = None
    out_of_memory: bool = False


class FoundJob(NamedTuple):
    """A job that exists in a place, whoever has made it.

    Attributes:
        handle: Its handle, as `JobExecutor.create` has returned it.
        tags: Its tags.
        age: How long it has existed, in seconds.
    """

    handle: str
    tags: Mapping[str, str]
    age: float


class LogPiece(NamedTuple):
    """What a place's log has of a job.

    Attributes:
        lines: The lines. Some may be among them that it has told before.
        cursor: What to ask with for those that come after them.
    """

    lines: Sequence[str]
    cursor: str
