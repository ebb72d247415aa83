"""What a job prints: its files, read while it writes them."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

STREAMS: Final = ("stdout", "stderr")
_AT_ONCE = 1 << 18  # bytes; a job that never stops printing must not keep the reader


class Tail:
    """Follows one file and gives whole lines of it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished: list[str] = []

    def read(self) -> str:
        """Return the whole lines that are new, or some of them."""
        return self._lines(os.read(self._descriptor, _AT_ONCE))

    def rest(self) -> str:
        """Return all that is new, also a line without an end: nobody writes any more."""
        parts: list[str] = []
        while data := os.read(self._descriptor, _AT_ONCE):
            parts.append(self._lines(data))
        parts += self._unfinished
        parts.append(self._decoder.decode(b"", final=True))
        self._unfinished = []
        return "".join(parts)

    def close(self) -> None:
        """Follow it no more."""
        os.close(self._descriptor)

    def _lines(self, data: bytes) -> str:
        lines, newline, begun = self._decoder.decode(data).rpartition("\n")
        text = ""
        if newline:
            text = "".join([*self._unfinished, lines, newline])
            self._unfinished = []
        if begun:
            self._unfinished.append(begun)
        return text
