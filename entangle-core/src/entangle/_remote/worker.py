"""The caller's side of one worker in a place, over the stream of its host."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from entangle._pool.output import STREAMS, Source
from entangle._worker import frames, packets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._pool.jobs import Job
    from entangle._pool.output import Printer
    from entangle._pool.worker import Key

    from .host import PlaceHost

_CREDIT = packets.WINDOW // 4  # bytes that are worth a packet
_JOINED = 1 << 16  # bytes up to which copying is cheaper than another buffer


def _no_references(_frame: frames.Frame) -> None:
    raise frames.ProtocolError("a reference to memory of another machine")


class FarWorker:
    """One worker in a place. Inside the monitor only."""

    def __init__(
        self, number: int, key: Key, host: PlaceHost, printer: Printer
    ) -> None:
        self.number = number
        self.key = key
        self.host = host
        self.pid = 0
        self.names: frozenset[str] = frozenset()  # of modules that it may ask for
        self.outstanding: deque[Job] = deque()
        self.killed = False
        self.broken = ""
        self.dirty = False
        self.resting = False  # whether it holds no room of its place
        self.aside = False  # whether others may take its room meanwhile
        self.answered = 0
        self.functions: set[int] = set()
        self.shared: set[int] = set()
        self.tiny = False  # whether its calls are, so that more may be queued behind
        self.asked = False  # whether it was asked for what it has not begun
        self._sequence = 0
        self._reader = frames.FrameReader(_no_references)
        self._window = packets.WINDOW
        self._pending: deque[memoryview] = deque()
        self._printed = 0
        self._sources = [Source(-1, self._emitter(printer, name)) for name in STREAMS]

    def _emitter(self, printer: Printer, stream: str) -> Callable[[str], None]:
        def emit(text: str) -> None:
            job = self.outstanding[0] if self.outstanding else None
            if job is not None:
                job.prepared.shipped.prints = True
            if job is not None and job.call.captures:
                job.call.output(stream, text)
            else:
                printer.take(stream, self, text)

        return emit

    # -- sending -----------------------------------------------------------------

    def next_sequence(self, count: int) -> int:
        """Return the number of the first of the next calls that it is given."""
        first = self._sequence + 1
        self._sequence += count
        return first

    def grant(self, numbers: Sequence[int]) -> None:
        """Put the tokens of calls where the worker finds them; before the calls."""
        content = struct.pack(f"<{len(numbers)}Q", *numbers)
        self.host.send(packets.GRANT, self.number, content)

    def withdraw(self) -> None:
        """Ask for the calls that it has not begun, once."""
        if not self.asked:
            self.asked = True
            self.host.send(packets.WITHDRAW, self.number)

    def step_aside(self) -> None:
        """Have another call run in its room: its own waits for what that may be."""
        if not self.aside:
            self.aside = True
            self.host.aside += 1
            if self.outstanding:
                self.outstanding[0].prepared.shipped.waits()

    def step_back(self) -> None:
        """Its call goes on, whoever has the room by now, or is over."""
        if self.aside:
            self.aside = False
            self.host.aside -= 1

    def send(self, pieces: Sequence[Any]) -> None:
        """Send one frame, as soon as there is room for it there."""
        size = sum(map(len, pieces))
        if not self._pending and size <= _JOINED and size <= self._window:
            self._window -= size
            head = packets.HEAD.pack(packets.DATA, self.number, size)
            self.host.send_data((b"".join((head, *pieces)),))
            return
        self._pending.extend(memoryview(piece).cast("B") for piece in pieces)
        self.pump()

    def pump(self) -> None:
        """Send what there is room for, on the stream and in the worker."""
        pending = self._pending
        while pending and self._window and self.host.has_room:
            room = min(self._window, packets.LONGEST)
            some: list[Any] = []
            size = 0
            while pending and size < room:
                piece = pending[0]
                part = piece[: room - size]
                size += len(part)
                some.append(part)
                if len(part) == len(piece):
                    pending.popleft()
                else:
                    pending[0] = piece[len(part) :]
            self._window -= size
            head = packets.HEAD.pack(packets.DATA, self.number, size)
            self.host.send_data((head, *some))

    def credited(self, count: int) -> None:
        """It has taken so many bytes."""
        self._window += count
        self.pump()

    def kill(self) -> None:
        """Have it ended with all its descendants; its death is reported later."""
        if not self.killed:
            self.killed = True
            self._pending.clear()
            self.host.kill(self)

    # -- receiving ---------------------------------------------------------------

    def received(self, data: memoryview) -> list[frames.Frame]:
        """Return the frames that are complete with this part of its stream.

        Raises:
            ProtocolError: it is no frame.
        """
        return self._reader.feed(data)

    def printed(self, which: int, data: bytes) -> None:
        """Pass on what it has printed; ``b""`` where it has closed that stream."""
        source = self._sources[which]
        if not data:
            source.finish()
            self.dirty = True
            return
        source.feed(data)
        self._printed += len(data)

    def give_credit(self) -> None:
        """Let it print on."""
        if self._printed >= _CREDIT:
            content = packets.COUNT.pack(self._printed)
            self._printed = 0
            self.host.send(packets.CREDIT, self.number, content)

    def finish_lines(self) -> None:
        """Pass on unfinished lines: the call that printed them is over."""
        for source in self._sources:
            source.finish()
