"""A stream with something in its way: noise, a cut, another version, a narrow pipe."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Final

from entangle.backend import Ended, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

# What a place answers first, see `entangle.backend.StreamExecutor.open`.
_ANSWER: Final = re.compile(rb"(\n[0-9a-f]{24} )(\d+\.\d+\.\d+)([^\n]*\n)")


class FaultyStream(Stream):
    """Stands before another stream, and spoils it in one way.

    Args:
        stream: The stream, which it owns.
        noise: What is to be read before anything else.
        version: What the place is to say of its Python's version; empty for the truth.
        cut_read: After how many bytes its end is read; None for never.
        cut_write: After how many bytes nothing more can be written; None for never.
        narrow: How many bytes pass at once, each time after a moment; None for any.
        silent: Whether nothing is ever to be read.
        spoil: Changes what is read.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        noise: bytes = b"",
        version: str = "",
        cut_read: int | None = None,
        cut_write: int | None = None,
        narrow: int | None = None,
        silent: bool = False,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.read_count = 0
        self.written_count = 0
        self._stream = stream
        self._ahead = noise
        self._version = version.encode()
        self._cut_read = cut_read
        self._cut_write = cut_write
        self._narrow = narrow
        self._silent = silent
        self._spoil = spoil
        self._over = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether it was closed or ended."""
        return self._over.is_set()

    def read(self, size: int) -> bytes:
        """Return what has come, or what is to be believed to have."""
        if self._silent:
            self._over.wait()
            return b""
        if self._cut_read is not None:
            size = min(size, self._cut_read - self.read_count)
            if size <= 0:
                return b""
        data = self._ahead[:size]
        self._ahead = self._ahead[size:]
        if not data:
            data = self._stream.read(self._slowly(size))
            if self._version:
                data = self._other_version(data)
            if self._spoil is not None:
                data = self._spoil(data)
            data, self._ahead = data[:size], data[size:]
        self.read_count += len(data)
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Send all of it, as far as that is possible."""
        left = memoryview(data)
        while left:
            size = self._slowly(len(left))
            if self._cut_write is not None:
                size = min(size, self._cut_write - self.written_count)
                if size <= 0:
                    raise BrokenPipeError("the stream is cut here, for a test")
            self._stream.write(left[:size])
            self.written_count += size
            left = left[size:]

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._stream.close()

    def kill(self) -> None:
        """End the place."""
        self._over.set()
        self._stream.kill()

    def ended(self) -> Ended:
        """Say how it has ended: not at all, where it was cut."""
        if self._cut_read is not None or self._cut_write is not None:
            return Ended(detail="the stream was cut, for a test")
        return self._stream.ended()

    def _slowly(self, size: int) -> int:
        if self._narrow is None:
            return size
        time.sleep(0.0005)
        return min(size, self._narrow)

    def _other_version(self, data: bytes) -> bytes:
        while data and not _ANSWER.search(data):
            more = self._stream.read(1 << 16)
            if not more:
                return data
            data += more
        version, self._version = self._version, b""
        return _ANSWER.sub(lambda found: found[1] + version + found[3], data, count=1)
