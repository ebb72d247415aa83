"""What a call that has failed has raised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from entangle._clean import clean, cut, one_line
from entangle._graph.callables import short as short_name
from entangle._graph.shown import guarded
from entangle._worker.codec import EncodeError
from entangle._worker.exception_parts import (
    attributes_of,
    cause_of,
    context_of,
    suppressed_in,
    traceback_of,
)
from entangle._worker.failures import TRACEBACK
from entangle.errors import ProcessRetryException
from entangle.errors import one_line as error_line

from .rows import WIDTH, row
from .source import located, short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_FRAMES: Final = 6
_LINES: Final = 12  # of a message
_CAUSES: Final = 4
_MEMBERS: Final = 5  # of a group
_ENTRY: Final = re.compile(r'  File "(.*)", line (\d+), in (.*)\n((?:    .*\n)*)')
_TRACEBACK: Final = "Traceback in the task (most recent call last):"
_NOTES: Final = 5


def frames_of(error: BaseException) -> list[str]:
    """Return the lines of the user's code that it came through."""
    entries = _remote(error) or _local(traceback_of(error))
    rows: list[str] = []
    for file, line, name, given in entries[-_FRAMES:]:
        source = located(file, line).line if given is None else given
        where = f"{clean(short(file))}:{line} in {one_line(short_name(name), 40)}"
        rows.append(f"{cut(where, 60)}     {cut(clean(source), WIDTH)}".rstrip())
    if len(entries) > _FRAMES:
        rows.insert(0, f"… {len(entries) - _FRAMES} calls")
    return rows


def _remote(error: BaseException) -> list[tuple[str, int, str, str | None]]:
    text = attributes_of(error).get(TRACEBACK)
    if not isinstance(text, str):
        return []
    return [
        (file, int(line), name, source.partition("\n")[0].strip())
        for file, line, name, source in _ENTRY.findall(text + "\n")
    ]


def _local(trace: TracebackType | None) -> list[tuple[str, int, str, str | None]]:
    """Return the frames of a task in this process: those behind the last of ours."""
    found: list[tuple[str, int, str, str | None]] = []
    inside = False
    while trace is not None:
        module: Any = trace.tb_frame.f_globals.get("__name__")
        if isinstance(module, str) and module.startswith("entangle."):
            inside = True
            found.clear()
        elif inside:
            code = trace.tb_frame.f_code
            found.append((code.co_filename, trace.tb_lineno, code.co_name, None))
        trace = trace.tb_next
    return found


def message_of(error: BaseException, known: str = "") -> Iterator[str]:
    """Show type, message, notes and, of a group, what is in it.

    Args:
        error: What was raised.
        known: How the note begins that says what is shown already.
    """
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
    if issubclass(kind, BaseExceptionGroup):
        group: Any = error
        members: tuple[BaseException, ...] = group.exceptions
        yield from (f"  {_one_line(each)}" for each in members[:_MEMBERS])
        if len(members) > _MEMBERS:
            yield f"  … {len(members) - _MEMBERS:,} more errors"
    for note in _notes(error, known)[:_NOTES]:
        yield from (f"  {cut(line, 2 * WIDTH)}" for line in note[:_LINES])


def _notes(error: BaseException, known: str) -> list[list[str]]:
    given: Any = attributes_of(error).get("__notes__", ())
    notes = [note for note in given if isinstance(note, str)] if given else []
    return [
        clean(note[:10_000]).splitlines()
        for note in notes
        # Another node than the one that is shown: of a run inside of its body.
        if not note.startswith(_TRACEBACK) and not (known and note.startswith(known))
    ]


def causes_of(error: BaseException) -> Iterator[str]:
    """Show earlier attempts, and what it was raised from, a line each."""
    seen = {id(error)}
    each: BaseException = error
    for _ in range(_CAUSES):
        following = cause_of(each)
        word = "because of"
        if following is None and not suppressed_in(each):
            following, word = context_of(each), "during"
        if following is None or id(following) in seen:
            return
        seen.add(id(following))
        if isinstance(following, ProcessRetryException):
            for number, earlier in enumerate(following.errors[:-1][-_NOTES:]):
                first = len(following.errors) - 1 - len(following.errors[:-1][-_NOTES:])
                yield row(f"attempt {first + number + 1}", _one_line(earlier))
        else:
            said, before = _one_line(following), _one_line(each)
            # What is ours, or says the same again, tells nothing.
            if type(following) is not EncodeError and said != before:
                yield row(word, said)
        each = following


def _one_line(error: BaseException) -> str:
    text = guarded(lambda: error_line(error), "its __str__")
    return one_line(text or type(error).__name__, WIDTH)
