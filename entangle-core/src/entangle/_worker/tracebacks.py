"""The text of a traceback: the user's frames, few enough to read."""

from __future__ import annotations

import os
import sys
from types import TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Of a long traceback as many frames at each end are looked at, and shown.
_FRAMES = 1_000
_ENTRIES = 50
# How the lines of a traceback begin: where a frame is, and what stands there.
_FILE = '  File "'
_LINE = "    "


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
    from traceback import format_tb

    chosen: TracebackType | None = None
    for trace in reversed(frames):
        chosen = TracebackType(chosen, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
    return format_tb(chosen)


def completed(text: str) -> str:
    """Add the source lines that the far side did not have, where this one has the file.

    A function that was sent by value has its file here. Never raises.
    """
    try:
        return "".join(_completed(text.splitlines(keepends=True)))
    except Exception:  # noqa: BLE001 - a loader is user code
        return text


def _completed(lines: list[str]) -> Iterator[str]:
    from linecache import getline

    for line, following in zip(lines, [*lines[1:], ""]):
        yield line
        if line.startswith(_FILE) and not following.startswith(_LINE):
            path, _, rest = line[len(_FILE) :].partition('", line ')
            number = rest.partition(",")[0]
            # What is installed may be another version there.
            if number.isdigit() and not path.startswith((sys.prefix, sys.base_prefix)):
                source = getline(path, int(number)).strip()
                if source:
                    yield f"{_LINE}{source}\n"
