"""What the command line says of a failure, and how to go on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from .terminal import red, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def tell(what: str, error: BaseException, again: Sequence[str] = ()) -> None:
    """Report an error on stderr; a node's by itself, any other with what was tried.

    Args:
        what: What was tried, and failed.
        error: Why.
        again: The arguments with which `entangle` would do it once more.
    """
    from entangle._run.report import failure_report, failures

    members = failures(error)
    if not members:
        say(f"entangle: {what}\n{failure_report(error)}")
        return
    text = failure_report(error, _hints(members[0], again))
    lines = [red(line) if line.startswith("✗") else line for line in text.split("\n")]
    say("\n".join(lines))


def _hints(error: BaseException, again: Sequence[str]) -> Iterator[tuple[str, str]]:
    from entangle._run import failed

    if again:
        command = shlex.join(["entangle", *again])
        yield "again", command
        yield "debug", f"ENTANGLE_INLINE=1 {command}   # breakpoint() works there"
    found = failed.of(error)
    rest = None if found is None else found.rest
    if rest is not None and rest.finished > rest.kept:
        yield "keep", "cache=True on a task: what has finished is not run again"
