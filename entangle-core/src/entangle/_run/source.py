"""The line of source that something was built at, marked where."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._clean import clean, columns, cut

if TYPE_CHECKING:
    from types import CodeType

_WIDTH: Final = 96  # columns that a line may take
_BEFORE: Final = 24  # columns in front of the mark that are kept of a long one


class Place(NamedTuple):
    """Where in the source something is.

    Attributes:
        shown: The file and the line, and the column where it is known: for people.
        line: The line's text, without what it is indented by; empty if unknown.
        mark: Blanks, then carets under the part that is meant; perhaps empty.
    """

    shown: str
    line: str
    mark: str


def place_of(code: CodeType | str, lasti: int) -> Place:
    """Find the line of an instruction.

    Args:
        code: The code object, or the line as ``file:line`` where it is elsewhere.
        lasti: The instruction.
    """
    if isinstance(code, str):
        file, _, number = code.rpartition(":")
        line = int(number) if number.isdecimal() else 0
        return located(file, line)
    span = next(islice(code.co_positions(), lasti // 2, None), (None,) * 4)
    line, end_line, start, end = span
    return located(
        code.co_filename,
        line or code.co_firstlineno,
        start,
        end if line == end_line else None,
    )


def located(
    file: str, line: int, start: int | None = None, end: int | None = None
) -> Place:
    """Show a line of a file, with a part of it marked.

    Args:
        file: Its name.
        line: Its number, from 1 on.
        start: Where the part begins: in bytes, as Python counts.
        end: Where it ends; None for the line's end.
    """
    name = clean(short(file)).replace("\n", " ")
    text = _line(file, line)
    if start is None or not text.strip():
        return Place(f"{name}:{line}", cut(clean(text.strip()), _WIDTH), "")
    data = text.encode(errors="surrogatepass")
    before = data[:start].decode(errors="replace")
    marked = data[start:end].decode(errors="replace").rstrip()
    after = "" if end is None else data[end:].decode(errors="replace").rstrip()
    column = len(before) + 1
    before, marked, after = (
        clean(part).replace("\t", " ") for part in (before.lstrip(), marked, after)
    )
    if columns(before + marked + after) > _WIDTH and columns(before) > _BEFORE:
        before = "…" + before[-_BEFORE:]
    marked = cut(marked, _WIDTH - columns(before))
    after = cut(after, max(_WIDTH - columns(before + marked), 1))
    mark = " " * columns(before) + "^" * max(columns(marked), 1)
    return Place(f"{name}:{line}:{column}", before + marked + after, mark)


def short(file: str) -> str:
    """Return the name of a file as it is found from here."""
    from pathlib import Path

    if not file.startswith(os.sep):
        return file  # of a notebook, say
    try:
        here = str(Path.cwd())
    except OSError:  # it is gone
        return file
    return file[len(here) + 1 :] if file.startswith(here + os.sep) else file


def _line(file: str, line: int) -> str:
    import linecache

    try:
        # Notebooks and the like say there what their code is.
        linecache.checkcache(file)
        text: Any = linecache.getline(file, line)
    except Exception:
        return ""
    return text.rstrip() if isinstance(text, str) else ""
