"""The report of a failure: what failed, with what, where from, and how to go on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from entangle._clean import clean, columns, cut, one_line
from entangle._graph.callables import kind_of
from entangle._graph.shown import shown
from entangle._run import failed as kept
from entangle._run.notes import in_node
from entangle.errors import ProcessTerminatedException, ProcessTimeoutException

from .inputs import inputs_of
from .raised import causes_of, frames_of, message_of
from .rows import WIDTH, indented, name_of, row
from .source import place_of, short
from .user_traceback import user_traceback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from entangle._run.failed import Failed

_OUTPUT: Final = 5
_MEMBERS: Final = 5
_PATH: Final = 3


def failure_report(error: BaseException, hints: Iterable[tuple[str, str]] = ()) -> str:
    """Say what is known of a failure, for people.

    What failed, the line that built it, what it was called with and where that came
    from, where in the task it was raised, what was printed last, and what did not run.
    Values are shown by their type and shape or a short repr, which may fail or hang
    without harm. An error that no node has raised is shown as a traceback, without the
    frames that are Entangle's own; with ``ENTANGLE_FULL_TRACEBACK=1`` all frames
    are shown, too.

    Args:
        error: What a run has raised, or a group of such errors.
        hints: How to go on: pairs of a word and what it stands for.

    Returns:
        Lines of text without control characters.
    """
    members = failures(error)
    if not members:
        return user_traceback(error)
    lines = _report(error, members, hints)
    if os.environ.get("ENTANGLE_FULL_TRACEBACK"):
        lines += ["", user_traceback(error)]
    return "\n".join(lines)


def _report(
    error: BaseException,
    members: list[BaseException],
    hints: Iterable[tuple[str, str]],
) -> list[str]:
    lines: list[str] = []
    if isinstance(error, BaseExceptionGroup) and members[0] is not error:
        lines.append(f"✗ {one_line(error.message, WIDTH)}")
    for member in members[:_MEMBERS]:
        lines += [*[""] * bool(lines), *_failure(member)]
    if len(members) > _MEMBERS:
        lines += ["", f"  {len(members) - _MEMBERS:,} more have failed"]
    if len(members) > 1:
        lines.append("")
    lines += indented(_rest(members))
    lines += indented(row(word, clean(text)) for word, text in hints)
    return lines


def failures(error: BaseException) -> list[BaseException]:
    """List the errors of nodes that an error is, or is a group of."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if kept.of(each) is not None:
            found.append(each)
        elif issubclass(kind_of(each), BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
    return found


def _failure(error: BaseException) -> Iterator[str]:
    found = kept.of(error)
    if found is None:
        return
    yield _head(error, found)
    node = found.node
    place = place_of(node.code, node.lasti)
    lines = [f"{place.shown}   {place.line}"]
    if place.mark:
        lines.append(f"{' ' * columns(place.shown)}   {place.mark}")
    yield from indented(lines)
    yield from indented(inputs_of(found))
    yield from indented(frames_of(error))
    yield from indented(message_of(error, in_node(node)))
    yield from indented(causes_of(error))
    yield from indented(_needed_by(found))
    yield from indented(_output(found))


def _head(error: BaseException, found: Failed) -> str:
    options = found.node.task.options
    verb = "failed"
    pid = found.pid
    if isinstance(error, ProcessTimeoutException):
        verb = "timed out"
    elif isinstance(error, ProcessTerminatedException):
        verb, pid = "died", error.pid
    parts = [f"✗ {name_of(found.node)} {verb}"]
    if options.retry and found.attempt:
        parts.append(f"attempt {found.attempt}/{options.retry + 1}")
    if found.seconds is not None:
        parts.append(_duration(found.seconds))
    if options.executor is not None:
        parts.append(shown(options.executor, 40))
    elif options.how != "assemble":
        parts.append(f"{options.how} {pid}" if pid else options.how)
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 1e-3:  # noqa: PLR2004 - microseconds say more
        return f"{1e6 * seconds:.0f} µs"
    if seconds < 0.1:  # noqa: PLR2004 - milliseconds say more
        return f"{1e3 * seconds:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"  # noqa: PLR2004


def _output(found: Failed) -> Iterator[str]:
    lines = clean(found.output).splitlines()
    for number, line in enumerate(lines[-_OUTPUT:]):
        yield row("" if number else "printed", cut(line, WIDTH))


def _waiting(found: Failed) -> list[str]:
    return [
        f"{name_of(node)} ({short(node.where)})" for node in found.needed_by[:_PATH]
    ]


def _needed_by(found: Failed) -> Iterator[str]:
    """Say whom it ran for, where the others have gone on."""
    if found.needed_by and found.rest is None:
        left = len(found.needed_by) - _PATH
        more = f", {left:,} more" if left > 0 else ""
        yield row("needed by", f"{', '.join(_waiting(found))}{more}")


def _rest(members: list[BaseException]) -> Iterator[str]:
    """Say what has become of the others."""
    found = kept.of(members[0])
    if found is None or found.rest is None:
        return
    rest = found.rest
    left = rest.left - len(members)
    parts = [f"{rest.finished:,} finished"] if rest.finished else []
    if rest.kept:
        parts.append(f"{rest.kept:,} kept in the cache")
    names = _waiting(found) if len(members) == 1 else []
    word = "not run"
    if left > len(names):
        # Some of these may have begun, and were ended.
        word = "unfinished"
        names.append(
            f"{left - len(names):,} more"
            if names
            else f"{left:,} {'call' if left == 1 else 'calls'}"
        )
    if left > 0:
        yield row(word, " · ".join([", ".join(names), *parts]))
    elif parts:
        yield row("others", " · ".join(parts))
