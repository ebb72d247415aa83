"""The text of a traceback: the user's frames, few enough to read."""

from __future__ import annotations

import os
import sys
from types import TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Of a long traceback as many frames at each end are looked at, and shown.
_FRAMES = 1_000
_ENTRIES = 50
# How the lines of a traceback begin: where a frame is, and what stands there.
_FILE = '  File "'
_LINE = "    "
# What stands there is not known where the frame is: the end of the part that runs, its
# first column, its last.
_MARK = "    \0"


def frames_text(trace: TracebackType | None) -> str:
    """Format the frames of a traceback, without its heading. Never raises.

    Frames of Entangle itself are left out, and those of the loop that it awaits the
    user's coroutines on, unless nothing else is there or ``ENTANGLE_FULL_TRACEBACK`` is
    set; of very long ones, the middle.
    """
    try:
        frames = list(_frames(trace))
        if not os.environ.get("ENTANGLE_FULL_TRACEBACK"):
            frames = _without_ours(frames) or frames
        left = len(frames) - 2 * _FRAMES
        if left > 0:
            frames[_FRAMES:-_FRAMES] = []
        # Equal frames in a row count as one: that is how recursion is shown.
        entries = _formatted(frames)
        left = max(left, 0) + len(entries) - 2 * _ENTRIES
        if left > 0:
            entries[_ENTRIES:-_ENTRIES] = [f"  [{left} frames left out]\n"]
        return "".join(entries)
    except Exception as error:  # noqa: BLE001 - sources and loaders are user code
        return f"  [no traceback: {type(error).__name__}]\n"


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _without_ours(frames: list[TracebackType]) -> list[TracebackType]:
    kept: list[TracebackType] = []
    for frame in frames:
        package = _package(frame)
        # In front of all of the user's, it is our loop.
        if package != "entangle" and (kept or package != "asyncio"):
            kept.append(frame)
    return kept


def _package(trace: TracebackType) -> str:
    name = trace.tb_frame.f_globals.get("__name__")
    return name.partition(".")[0] if type(name) is str else ""


def _formatted(frames: list[TracebackType]) -> list[str]:
    from traceback import StackSummary, extract_tb

    class Marked(StackSummary):
        """Says of frames without a source line which part of it runs."""

        def format_frame_summary(self, frame_summary: Any, **how: Any) -> str:
            """Called from 3.11 on; before that nothing but the line is known."""
            text = super().format_frame_summary(frame_summary, **how)
            columns = frame_summary.colno, frame_summary.end_colno
            if frame_summary.line or None in columns:
                return text
            return f"{text}{_MARK}{frame_summary.end_lineno},%d,%d\n" % columns

    chosen: TracebackType | None = None
    for trace in reversed(frames):
        chosen = TracebackType(chosen, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
    marked = Marked()
    marked.extend(extract_tb(chosen))
    return marked.format()


def unmarked(text: str) -> str:
    """Return a text of frames as it is shown where the missing lines are not."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_MARK))


def completed(text: str) -> str:
    """Add the source lines that the far side did not have, where this one has the file.

    A function that was sent by value has its file here. Never raises.
    """
    try:
        return "".join(_completed(text.splitlines(keepends=True)))
    except Exception:  # noqa: BLE001 - a loader is user code
        return unmarked(text)


def _completed(lines: list[str]) -> Iterator[str]:
    for line, following in zip(lines, [*lines[1:], ""]):
        if line.startswith(_MARK):
            continue
        yield line
        marked = following.startswith(_MARK)
        if line.startswith(_FILE) and (marked or not following.startswith(_LINE)):
            mark = following[len(_MARK) :] if marked else ""
            path, _, rest = line[len(_FILE) :].partition('", line ')
            number = rest.partition(",")[0]
            # What is installed may be another version there.
            if number.isdigit() and not path.startswith((sys.prefix, sys.base_prefix)):
                yield from _source(path, int(number), mark)


def _source(path: str, number: int, mark: str) -> Iterator[str]:
    """Yield a line of a file, if it can be had, and what marks a part of it.

    Args:
        path: The file.
        number: The line.
        mark: Up to where the part is, and its columns; empty if that is not known.
    """
    from linecache import getline
    from traceback import FrameSummary, StackSummary

    if sys.version_info < (3, 11) or not mark:
        source = getline(path, number).strip()
        if source:
            yield f"{_LINE}{source}\n"
        return
    last, begin, end = map(int, mark.split(","))
    frame = FrameSummary(
        path,
        number,
        "",
        lookup_line=False,
        end_lineno=last,
        colno=begin,
        end_colno=end,
    )
    yield from StackSummary.from_list([frame]).format()[0].splitlines(keepends=True)[1:]
