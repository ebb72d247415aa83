"""A traceback as its user wants it: without the frames that are Entangle's own."""

from __future__ import annotations

import os
from traceback import StackSummary, TracebackException
from typing import TYPE_CHECKING

from entangle._clean import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = f"{os.sep}entangle{os.sep}"
LOADER = "<frozen importlib"


def user_traceback(error: BaseException) -> str:
    """Return an error's traceback through user code, with causes, message and notes.

    With ENTANGLE_FULL_TRACEBACK set, our own frames are shown too.
    """
    report = TracebackException.from_exception(error)
    if not os.environ.get("ENTANGLE_FULL_TRACEBACK"):
        for part in _chain(report):
            part.stack = StackSummary.from_list(
                [frame for frame in part.stack if not _is_ours(frame.filename)]
            )
    return clean("".join(report.format()).rstrip())


def _chain(report: TracebackException) -> Iterator[TracebackException]:
    waiting, seen = [report], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += [p for p in (part.__cause__, part.__context__) if p is not None]
            waiting += part.exceptions or []


def _is_ours(filename: str) -> bool:
    root, here, _ = __file__.rpartition(f"{OURS}_run{os.sep}")
    return filename.startswith((root + OURS if here else OURS, LOADER))
