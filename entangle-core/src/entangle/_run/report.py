"""The report of a failure: what failed, with what, where from, and how to go on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from entangle._clean import clean, columns, cut, one_line
from entangle._graph.callables import short as short_name
from entangle._graph.shown import guarded, shown
from entangle._graph.walk import edges_in, substitute
from entangle._worker import codec
from entangle._worker.attach import Parcel
from entangle._worker.exception_parts import (
    attributes_of,
    cause_of,
    context_of,
    suppressed_in,
    traceback_of,
)
from entangle._worker.failures import TRACEBACK
from entangle.errors import (
    ProcessRetryException,
    ProcessTerminatedException,
    ProcessTimeoutException,
)
from entangle.errors import (
    one_line as error_line,
)

from . import failed as kept
from .source import located, place_of, short
from .user_traceback import user_traceback
from .values import objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from entangle._graph.node import Node

    from .failed import Failed

WIDTH: Final = 100  # columns
_INPUTS: Final = 12
_FRAMES: Final = 6
_LINES: Final = 12  # of a message
_WORD: Final = 10  # columns in front of what is said around a failure
_OUTPUT: Final = 5
_MEMBERS: Final = 5
_CAUSES: Final = 4
_PATH: Final = 3
_INDENT: Final = "  "
_ENTRY: Final = re.compile(r'  File "(.*)", line (\d+), in (.*)\n((?:    .*\n)*)')
_SENT: Final = frozenset((Parcel,))
_OWN_NOTES: Final = ("in node ", "Traceback in the task (most recent call last):")


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
    if isinstance(error, BaseExceptionGroup):
        lines.append(f"✗ {one_line(error.message, WIDTH)}")
    for member in members[:_MEMBERS]:
        lines += [*[""] * bool(lines), *_failure(member)]
    if len(members) > _MEMBERS:
        lines += ["", f"{_INDENT}{len(members) - _MEMBERS:,} more have failed"]
    if len(members) > 1:
        lines.append("")
    lines += _indented(_rest(members))
    lines += _indented(_row(word, clean(text)) for word, text in hints)
    return lines


def _row(word: str, text: str) -> str:
    return f"{word:<{_WORD}} {text}"


def failures(error: BaseException) -> list[BaseException]:
    """List the errors of nodes that an error is, or is a group of."""
    found: list[BaseException] = []
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if kept.of(each) is not None:
            found.append(each)
        elif isinstance(each, BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
    return found


def _failure(error: BaseException) -> Iterator[str]:
    found = kept.of(error)
    if found is None:
        return
    yield _head(error, found)
    node = found.node
    place = place_of(node.code, node.lasti)
    yield f"{_INDENT}{place.shown}   {place.line}".rstrip()
    if place.mark:
        yield f"{_INDENT}{' ' * columns(place.shown)}   {place.mark}"
    yield from _indented(_inputs(found))
    yield from _indented(_frames(error))
    yield from _indented(_message(error))
    yield from _indented(_causes(error))
    yield from _indented(_needed_by(found))
    yield from _indented(_output(found))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield f"{_INDENT}{line}".rstrip()


# -- what failed -------------------------------------------------------------------


def _head(error: BaseException, found: Failed) -> str:
    options = found.node.task.options
    verb = "failed"
    pid = found.pid
    if isinstance(error, ProcessTimeoutException):
        verb = "timed out"
    elif isinstance(error, ProcessTerminatedException):
        verb, pid = "died", error.pid
    parts = [f"✗ {_name(found.node)} {verb}"]
    if options.retry and found.attempt:
        parts.append(f"attempt {found.attempt}/{options.retry + 1}")
    if found.seconds is not None:
        parts.append(_duration(found.seconds))
    where = options.how if options.executor is None else shown(options.executor, 40)
    if options.how == "workflow":
        where = "workflow"
    parts.append(f"{where} {pid}" if pid and options.executor is None else where)
    return " · ".join(part for part in parts if part != "assemble")


def _name(node: Node[Any]) -> str:
    return one_line(short_name(node.name), 60)


def _duration(seconds: float) -> str:
    if seconds < 0.1:  # noqa: PLR2004 - milliseconds say more
        return f"{1e3 * seconds:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"  # noqa: PLR2004


# -- what it was called with ---------------------------------------------------------


def _inputs(found: Failed) -> list[str]:
    node = found.node
    if node.task.options.how == "assemble":
        return []
    delivered = node.args if found.args is None else found.args
    names = _names(node, len(delivered))
    # A flow's values are in no node: they are what was delivered.
    written = (*node.args, *delivered[len(node.args) :])
    given = list(zip(written, delivered, strict=False))
    named = node.kwargs or {}
    values = named if found.kwargs is None else found.kwargs
    names += list(named)
    given += [(value, values.get(key)) for key, value in named.items()]
    rows = [
        (cut(name, 24), *_value(written, value, known=found.args is not None))
        for name, (written, value) in zip(names[:_INPUTS], given, strict=False)
    ]
    wide = max((columns(f"{name} = {text}") for name, text, _ in rows), default=0)
    lines: list[str] = []
    for name, text, source in rows:
        line = f"{name} = {text}"
        gap = " " * (min(wide, 56) - columns(line) + 3)
        lines.append(f"{line}{gap if source else ''}{source}")
    if len(given) > _INPUTS:
        lines.append(f"… and {len(given) - _INPUTS:,} more arguments")
    return lines


def _value(written: Any, value: Any, *, known: bool) -> tuple[str, str]:
    """Show an argument, and where it came from."""
    sources = edges_in(written)
    if not sources and (written is not value or not known):
        # Of what is sent, the call may have the bytes.
        return shown(written, 52), ""
    calls = [
        f"{_name(each)}()" if hasattr(each, "task") else "a run" for each in sources
    ]
    text = "from " + ", ".join(dict.fromkeys(calls[:4])) if calls else ""
    if len(sources) == 1 and hasattr(sources[0], "task"):
        text += f"   {short(sources[0].where)}"
    elif len(sources) > 1:
        text += f" … {len(sources):,} calls"
    if not known:
        return "…", text
    decoded: list[Any] = []

    def decode() -> str:
        decoded.append(substitute(objects(value), codec.decode, _SENT))
        return ""

    guarded(decode)  # its class may do anything then
    return (shown(decoded[0], 52) if decoded else "…"), text


def _names(node: Node[Any], count: int) -> list[str]:
    """Return the parameters that the positional arguments go to."""
    # Imported here: it takes longer than the rest.
    import inspect

    names: list[str] = []
    try:
        parameters = list(inspect.signature(node.task.fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    for number in range(count):
        rest = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        plain = [
            p
            for p in parameters
            if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
        ]
        if number < len(plain):
            names.append(plain[number].name)
        elif rest is not None:
            names.append(f"{rest.name}[{number - len(plain)}]")
        else:
            names.append(f"argument {number + 1}")
    return names


# -- what it raised ------------------------------------------------------------------


def _frames(error: BaseException) -> list[str]:
    """Return the lines of the user's code that it came through."""
    entries = _remote(error) or _local(traceback_of(error))
    rows: list[str] = []
    for file, line, name, source in entries[-_FRAMES:]:
        where = f"{clean(short(file))}:{line} in {one_line(short_name(name), 40)}"
        rows.append(f"{cut(where, 60)}     {cut(clean(source), WIDTH)}".rstrip())
    if len(entries) > _FRAMES:
        rows.insert(0, f"… {len(entries) - _FRAMES} calls")
    return rows


def _remote(error: BaseException) -> list[tuple[str, int, str, str]]:
    text = attributes_of(error).get(TRACEBACK)
    if not isinstance(text, str):
        return []
    return [
        (file, int(line), name, source.partition("\n")[0].strip())
        for file, line, name, source in _ENTRY.findall(text + "\n")
    ]


def _local(trace: TracebackType | None) -> list[tuple[str, int, str, str]]:
    """Return the frames of a task in this process: those behind the first of ours."""
    found: list[tuple[str, int, str, str]] = []
    inside = False
    while trace is not None:
        ours = str(trace.tb_frame.f_globals.get("__name__")).startswith("entangle.")
        if ours:
            inside = True
            found.clear()
        elif inside:
            code = trace.tb_frame.f_code
            text = located(code.co_filename, trace.tb_lineno).line
            found.append((code.co_filename, trace.tb_lineno, code.co_name, text))
        trace = trace.tb_next
    return found


def _message(error: BaseException) -> Iterator[str]:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"builtins", "__main__", "entangle.errors"}:
        name = f"{kind.__module__}.{name}"
    text = guarded(lambda: str(error), "its __str__")
    lines = clean((text or "")[:100_000]).strip().splitlines() or [""]
    yield cut(f"{clean(name)}: {lines[0]}".removesuffix(": "), 4 * WIDTH)
    yield from (cut(line, 2 * WIDTH) for line in lines[1:_LINES])
    if len(lines) > _LINES:
        yield f"… {len(lines) - _LINES:,} more lines"
    for note in _notes(error)[:_MEMBERS]:
        yield from (f"  {cut(line, 2 * WIDTH)}" for line in note[:_LINES])


def _notes(error: BaseException) -> list[list[str]]:
    given: Any = attributes_of(error).get("__notes__", ())
    notes = [note for note in given if isinstance(note, str)] if given else []
    return [
        clean(note[:10_000]).splitlines()
        for note in notes
        if not note.startswith(_OWN_NOTES)
    ]


def _causes(error: BaseException) -> Iterator[str]:
    seen = {id(error)}
    each: BaseException | None = error
    for _ in range(_CAUSES):
        following = cause_of(each)
        word = "because of"
        if following is None and not suppressed_in(each):
            following, word = context_of(each), "during"
        if following is None or id(following) in seen:
            return
        seen.add(id(following))
        if isinstance(following, ProcessRetryException):
            for number, earlier in enumerate(following.errors[:-1][-_MEMBERS:]):
                first = (
                    len(following.errors) - 1 - len(following.errors[:-1][-_MEMBERS:])
                )
                yield _row(f"attempt {first + number + 1}", _one_line(earlier))
        else:
            yield _row(word, _one_line(following))
        each = following


def _one_line(error: BaseException) -> str:
    text = guarded(lambda: error_line(error), "its __str__")
    return one_line(text or type(error).__name__, WIDTH)


# -- around it -----------------------------------------------------------------------


def _output(found: Failed) -> Iterator[str]:
    lines = clean(found.output).splitlines()
    for number, line in enumerate(lines[-_OUTPUT:]):
        yield _row("" if number else "printed", cut(line, WIDTH))


def _waiting(found: Failed) -> list[str]:
    return [f"{_name(node)} ({short(node.where)})" for node in found.needed_by[:_PATH]]


def _needed_by(found: Failed) -> Iterator[str]:
    """Say whom it ran for, where the others have gone on."""
    if found.needed_by and found.rest is None:
        left = len(found.needed_by) - _PATH
        more = f", {left:,} more" if left > 0 else ""
        yield _row("needed by", f"{', '.join(_waiting(found))}{more}")


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
    if left > len(names):
        names.append(f"{left - len(names):,} more" if names else f"{left:,} calls")
    if left > 0:
        yield _row("not run", " · ".join([", ".join(names), *parts]))
    elif parts:
        yield _row("others", " · ".join(parts))
