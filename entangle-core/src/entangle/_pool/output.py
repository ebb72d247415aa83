"""What tasks print: bytes from their pipes, in whole lines, to the caller's streams."""

from __future__ import annotations

import codecs
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from entangle._log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log("entangle.output")

_AT_ONCE = 1 << 17
_READS = 4
_MOST_STORED = 1 << 23  # characters
STREAMS: tuple[str, ...] = ("stdout", "stderr")


class Source:
    """The reading end of one output pipe of one worker. Monitor only."""

    def __init__(self, descriptor: int, emit: Callable[[str], None]) -> None:
        self.descriptor = descriptor
        self._emit = emit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self.unfinished = False  # whether what came last was no whole line

    def read(self) -> bool:
        """Pass on what is there now; False at the end of the pipe.

        A pipe holds less than is read at once, so that what was printed before is
        read whole, and a task that never stops printing can't keep the reader.
        """
        for _ in range(_READS):
            try:
                data = os.read(self.descriptor, _AT_ONCE)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                self.finish()
                return False
            self.feed(data)
            if len(data) < _AT_ONCE:
                break
        return True

    def feed(self, data: bytes) -> None:
        """Pass on what was read elsewhere: the whole lines in it."""
        self._take(self._decoder.decode(data))
        self.unfinished = not data.endswith(b"\n")

    def finish(self) -> None:
        """Pass on a line that has no end: its call is over."""
        if not self.unfinished:
            return
        self.unfinished = False
        rest = self._decoder.decode(b"", final=True)
        if rest:
            self._line.append(rest)
        if self._line:
            self._emit("".join(self._line))
            self._line = []

    def _take(self, text: str) -> None:
        lines, newline, rest = text.rpartition("\n")
        if newline:
            self._emit("".join(self._line) + lines + newline)
            self._line = []
        if rest:
            self._line.append(rest)


class Printer:
    """Writes what tasks printed to this process's streams, in order of arrival.

    A stream may be any object of the user's, so nothing is written inside the
    monitor: `take` only stores, and whoever waits for a run, or else the notifier
    thread, calls `flush`. Lines of different sources never share a line.
    """

    def __init__(self) -> None:
        self._writing = threading.RLock()
        self._open_line: dict[str, bool] = dict.fromkeys(STREAMS, False)
        self._last: dict[str, object] = {}
        self._texts: deque[tuple[str, object, str]] = deque()
        self._stored = 0
        self._awaited = False  # whether somebody waits until there is room
        self.on_room: list[Callable[[], None]] = []

    def take(self, stream: str, source: object, text: str) -> None:
        """Store text of one source for a stream; thread-safe, never blocks."""
        size = len(text)
        self._texts.append((stream, source, text))
        # No call in between, where another thread could count.
        self._stored += size

    def full(self) -> bool:
        """Tell whether so much is stored that tasks should be kept from printing.

        Who is told so is told by `on_room` when all that is written.
        """
        if self._stored <= _MOST_STORED:
            return False
        self._awaited = True
        # Asked again: whoever has written it since then may not have seen the mark.
        return self._stored > _MOST_STORED

    def pending(self) -> bool:
        """Tell whether something is stored."""
        return bool(self._texts)

    def flush(self) -> None:
        """Write what is stored; returns when all stored before the call is written.

        Writing to a broken or closed stream drops the text, as the interpreter does
        at exit: a task is not failed for its caller's terminal.
        """
        if not self._texts and not self._writing_elsewhere():
            return
        with self._writing:
            written: set[str] = set()
            while self._texts:
                stream, source, text = self._texts.popleft()
                size = len(text)
                self._stored -= size
                self._write(stream, source, text)
                written.add(stream)
            for stream in written:
                try:
                    getattr(sys, stream).flush()
                except Exception:
                    log.debug("%s can't be flushed", stream, exc_info=True)
        if self._awaited:
            self._awaited = False
            for tell in tuple(self.on_room):
                tell()

    def _write(self, stream: str, source: object, text: str) -> None:
        target = getattr(sys, stream)
        if target is None:
            return
        if self._open_line[stream] and self._last.get(stream) is not source:
            text = "\n" + text
        self._last[stream] = source
        self._open_line[stream] = not text.endswith("\n")
        try:
            target.write(text)
        except UnicodeEncodeError as error:
            known = text.encode(error.encoding, "backslashreplace")
            target.write(known.decode(error.encoding))
        except Exception:
            log.debug("%s can't be written to", stream, exc_info=True)

    def _writing_elsewhere(self) -> bool:
        if self._writing.acquire(blocking=False):
            self._writing.release()
            return False
        return True
