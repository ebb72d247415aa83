"""Length-prefixed frames with out-of-band buffers, over any byte stream.

A frame is a 16-byte header (magic, kind, flags, number of buffers, length of the
body), the lengths of its buffers, the body, the buffers. The lowest bits of a
buffer's length field are its mark: that its producer's buffer was read-only, that it
is a reference to shared memory.

Frames up to a chunk are cut out of what one receive brought; bigger ones are
received straight into memory of their own, so that a byte is copied once.
"""

from __future__ import annotations

import _struct as struct
import mmap

from .pieces import Piece, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import Any, Union

    Buffer = Union[bytes, bytearray, memoryview]

MAGIC = b"En"
HEADER = struct.Struct("<2sBBIQ")
LENGTH = struct.Struct("<Q")
CHUNK = 1 << 18
LARGEST_BODY = 1 << 42
MOST_BUFFERS = 1 << 24

# caller -> worker
CONTEXT, FUNCTION, CALLS, SHARED, FORGET, REPLY, EXIT, GRANTED, UNMAP, SOURCE = range(
    1, 11
)
# worker -> caller
STARTED, VALUES, RESULT, GRAPH, FAILED, NESTED, BLOCKED, RESUMED = range(33, 41)
SPACE, RELEASED, MODULE, PLAIN = range(41, 45)

# marks of a buffer
READONLY = 1
REFERENCE = 2
_MARK_BITS = 2
_MARKS = 3

# flags of CALLS
APART = 1  # each call is a pickle of its own
ALIKE = 2  # they differ by their arguments: first number, function, flags, arguments

# flags of VALUES, RESULT, GRAPH, FAILED and PLAIN
DIRTY = 1  # the call left child processes behind: discard this worker


class ProtocolError(Exception):
    """What arrived is no frame: the stream was written to by somebody else."""


class Frame:
    """One received frame."""

    __slots__ = ("body", "buffers", "flags", "kind", "marks")

    def __init__(
        self,
        kind: int,
        flags: int,
        body: bytes | bytearray,
        buffers: tuple[Any, ...],
        marks: tuple[int, ...],
    ) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body
        self.buffers = buffers
        self.marks = marks


def pack(
    kind: int, body: Buffer, buffers: Sequence[Any] = (), flags: int = 0
) -> list[Buffer]:
    """Return the parts of one frame, to be written in order.

    Buffers that are pieces of shared memory go as references.
    """
    if not buffers:
        return [HEADER.pack(MAGIC, kind, flags, 0, len(body)) + body]
    head = [HEADER.pack(MAGIC, kind, flags, len(buffers), len(body))]
    views: list[memoryview] = []
    for buffer in buffers:
        if type(buffer) is Piece:
            view, mark = memoryview(buffer.reference()), REFERENCE | buffer.readonly
        else:
            view = memoryview(buffer).cast("B")
            mark = view.readonly
        views.append(view)
        head.append(LENGTH.pack(view.nbytes << _MARK_BITS | mark))
    head.append(bytes(body))
    return [b"".join(head), *(view for view in views if view.nbytes)]


def send(sock: socket, pieces: Sequence[Buffer]) -> None:
    """Write all pieces to a blocking socket.

    An exception leaves unknown how much was written: the stream is then useless.
    """
    for piece in pieces:
        sock.sendall(piece)


class _Filling:
    """A big frame whose memory exists already and is being received into."""

    __slots__ = ("_frame", "_left", "_windows")

    def __init__(self, frame: Frame, windows: list[memoryview]) -> None:
        self._frame = frame
        self._left = sum(map(len, windows))
        # The next one last, where taking it away moves no other.
        self._windows = windows[::-1]

    def window(self) -> memoryview:
        return self._windows[-1]

    def advance(self, count: int) -> Frame | None:
        """Take note of ``count`` received bytes; return the frame when complete."""
        self._left -= count
        window = self._windows[-1]
        if count == len(window):
            self._windows.pop()
        else:
            self._windows[-1] = window[count:]
        return self._frame if not self._left else None


class FrameReader:
    """Cuts a stream into frames. One thread at a time may use it.

    Args:
        resolve: puts pieces in the place of a frame's references; it may raise
            `ProtocolError`.
    """

    def __init__(self, resolve: Callable[[Frame], None] = resolve) -> None:
        self._resolve = resolve
        # Pages that nothing was received into yet cost nothing.
        self._chunk = memoryview(
            mmap.mmap(-1, CHUNK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        )
        self._tail = b""
        self._filling: _Filling | None = None

    def read(self, recv_into: Callable[[memoryview], int]) -> list[Frame]:
        """Receive once and return the frames that are complete now.

        Args:
            recv_into: fills a writable buffer, returns the number of bytes, 0 at the
                end of the stream.

        Raises:
            EOFError: the stream ended.
            ProtocolError: what arrived is not a frame, or is bigger than the memory.
                No later call returns frames again.
        """
        filling = self._filling
        if filling is not None:
            count = recv_into(filling.window())
            if not count:
                raise EOFError
            frame = filling.advance(count)
            if frame is None:
                return []
            self._filling = None
            return [self._complete(frame)]
        count = recv_into(self._chunk)
        if not count:
            raise EOFError
        data = (
            self._tail + self._chunk[:count]
            if self._tail
            else bytes(self._chunk[:count])
        )
        return self._cut(data)

    def feed(self, data: Buffer) -> list[Frame]:
        """Take a part of the stream that was received already; as `read`.

        Raises:
            ProtocolError: as `read`.
        """
        rest = memoryview(data)
        found: list[Frame] = []
        while rest:
            filling = self._filling
            if filling is None:
                found += self._cut(self._tail + rest if self._tail else bytes(rest))
                break
            window = filling.window()
            count = min(len(window), len(rest))
            window[:count] = rest[:count]
            rest = rest[count:]
            frame = filling.advance(count)
            if frame is not None:
                self._filling = None
                found.append(self._complete(frame))
        return found

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        offset, end = 0, len(data)
        while end - offset >= HEADER.size:
            magic, kind, flags, number, size = HEADER.unpack_from(data, offset)
            if magic != MAGIC or size > LARGEST_BODY or number > MOST_BUFFERS:
                raise self._refused(data, offset)
            body = offset + HEADER.size
            if not number:
                if end - body >= size:
                    offset = body + size
                    frames.append(Frame(kind, flags, data[body:offset], (), ()))
                    continue
                if size > CHUNK:
                    self._fill(kind, flags, (size,), data, body)
                    offset = end
                break
            body += LENGTH.size * number
            if end < body:
                break
            fields = struct.unpack_from(f"<{number}Q", data, offset + HEADER.size)
            lengths = (size, *[field >> _MARK_BITS for field in fields])
            total = sum(lengths)
            if total > LARGEST_BODY:
                raise self._refused(data, offset)
            if end - body < total <= CHUNK:
                break
            frame = self._fill(kind, flags, lengths, data, body)
            frame.marks = tuple([field & _MARKS for field in fields])
            if self._filling is not None:
                offset = end
                break
            offset = body + total
            frames.append(self._complete(frame))
        self._tail = data[offset:] if offset < end else b""
        return frames

    def _complete(self, frame: Frame) -> Frame:
        if any(mark & REFERENCE for mark in frame.marks):
            self._resolve(frame)
        return frame

    def _fill(
        self, kind: int, flags: int, lengths: tuple[int, ...], data: bytes, offset: int
    ) -> Frame:
        """Allocate a frame's memory and move into it what is here already."""
        try:
            parts = [bytearray(length) for length in lengths]
        except MemoryError:
            self._tail = data
            raise ProtocolError(
                f"a frame of {sum(lengths):,} bytes: there is no memory for it"
            ) from None
        windows: list[memoryview] = []
        source = memoryview(data)
        for part in parts:
            length = len(part)
            here = min(length, len(data) - offset)
            part[:here] = source[offset : offset + here]
            offset += here
            if here < length:
                windows.append(memoryview(part)[here:])
        frame = Frame(kind, flags, parts[0], tuple(parts[1:]), ())
        if windows:
            self._filling = _Filling(frame, windows)
        return frame

    def _refused(self, data: bytes, offset: int) -> ProtocolError:
        self._tail = data[offset:]  # whoever reads on meets it again
        return ProtocolError(data[offset : offset + 64])
