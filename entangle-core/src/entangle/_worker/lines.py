"""Numbered lines: output that comes twice, by a log and with an answer, is told once.

Whoever cuts the same output gets the same lines with the same numbers.
"""

from __future__ import annotations

import re
from itertools import groupby

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Optional

STREAMS = {1: "stdout", 2: "stderr"}

# Logs of other people's cut what is longer than 16 KB.
_LONGEST = 8192
_AFTER_START = 0xC0, 0x80  # mask and value of a byte inside of a character of UTF-8
_BYTES_OF_CHARACTER = 4
_NUMBERS = {name: number for number, name in STREAMS.items()}
_WRITTEN = re.compile(r"(stdout|stderr) ([0-9]{1,15})([:+])(?: (.*))?", re.DOTALL)


class Line:
    """A line of output, or a piece of one that is long.

    Attributes:
        number: Which it is, of both streams together.
        stream: 1 or 2.
        text: What was printed, with the end of the line if it is not a piece.
    """

    __slots__ = "number", "stream", "text"

    def __init__(self, number: int, stream: int, text: str) -> None:
        self.number = number
        self.stream = stream
        self.text = text

    def written(self) -> bytes:
        """Return it as a line of a log, which for a log is never empty."""
        text, newline, _ = self.text.partition("\n")
        mark = ":" if newline else "+"
        return f"{STREAMS[self.stream]} {self.number}{mark} {text}\n".encode()


class Lines:
    """Cuts what comes of two streams into lines, and numbers them from 1 on."""

    def __init__(self) -> None:
        self.count = 0
        self._begun = dict.fromkeys(STREAMS, b"")

    def take(self, stream: int, data: bytes) -> Iterator[Line]:
        """Yield the lines that are complete by what has come of a stream."""
        *whole, rest = (self._begun[stream] + data).split(b"\n")
        for line in whole:
            yield from self._cut(stream, line + b"\n")
        while len(rest) > _LONGEST:
            end = _boundary(rest)
            yield self._made(stream, rest[:end])
            rest = rest[end:]
        self._begun[stream] = rest

    def rest(self) -> Iterator[Line]:
        """Yield what has no end of a line: nothing comes any more."""
        for stream, begun in self._begun.items():
            if begun:
                yield self._made(stream, begun)
        self._begun = dict.fromkeys(STREAMS, b"")

    def _cut(self, stream: int, line: bytes) -> Iterator[Line]:
        while len(line) > _LONGEST:
            end = _boundary(line)
            yield self._made(stream, line[:end])
            line = line[end:]
        yield self._made(stream, line)

    def _made(self, stream: int, data: bytes) -> Line:
        self.count += 1
        return Line(self.count, stream, data.decode("utf-8", "replace"))


def read(text: str) -> Optional[Line]:
    """Return the line that a line of a log stands for; None if it is something else."""
    found = _WRITTEN.fullmatch(text.rstrip("\n"))
    if found is None:
        return None
    stream, number, mark, said = found.groups()
    end = "\n" if mark == ":" else ""
    return Line(int(number), _NUMBERS[stream], (said or "") + end)


def joined(several: Iterable[Line]) -> Iterator[tuple[str, str]]:
    """Yield what lines say, as stream and text: one for those of one stream in a row."""
    for stream, some in groupby(several, lambda line: line.stream):
        yield STREAMS[stream], "".join(line.text for line in some)


def _boundary(data: bytes) -> int:
    """Return where to cut, so that no character is divided."""
    mask, inside = _AFTER_START
    for end in range(_LONGEST, _LONGEST - _BYTES_OF_CHARACTER, -1):
        if data[end] & mask != inside:
            return end
    return _LONGEST
