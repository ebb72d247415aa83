"""Length-prefixed frames with out-of-band buffers, over any byte stream.

A frame is a 16-byte header (magic, kind, flags, number of buffers, length of the
body), the lengths of its buffers, the body, the buffers. The lowest bit of a
buffer's length field says that its producer's buffer was read-only.

Frames up to a chunk are cut out of what one receive brought; bigger ones are
received straight into memory of their own, so that a byte is copied once.
"""

import struct

MAGIC = b"En"
HEADER = struct.Struct("<2sBBIQ")
LENGTH = struct.Struct("<Q")
CHUNK = 1 << 18
LARGEST_BODY = 1 << 42
MOST_BUFFERS = 1 << 24

# caller -> worker
CONTEXT, FUNCTION, CALLS, SHARED, FORGET, REPLY, EXIT = range(1, 8)
# worker -> caller
HELLO, STARTED, VALUE, RESULT, GRAPH, FAILED, NESTED, BLOCKED, RESUMED = range(32, 41)

# flags of VALUE, RESULT, GRAPH and FAILED
DIRTY = 1  # the call left child processes behind: discard this worker


class ProtocolError(Exception):
    """What arrived is no frame: the stream was written to by somebody else."""


class Frame:
    """One received frame."""

    __slots__ = ("body", "buffers", "flags", "kind", "readonly")

    def __init__(self, kind, flags, body, buffers, readonly):
        self.kind = kind
        self.flags = flags
        self.body = body
        self.buffers = buffers
        self.readonly = readonly


def pack(kind, body, buffers=(), flags=0):
    """Return the pieces of one frame, to be written in order."""
    if not buffers:
        return [HEADER.pack(MAGIC, kind, flags, 0, len(body)) + body]
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    head = [HEADER.pack(MAGIC, kind, flags, len(views), len(body))]
    head.extend(LENGTH.pack(view.nbytes << 1 | view.readonly) for view in views)
    head.append(bytes(body))
    return [b"".join(head), *(view for view in views if view.nbytes)]


def send(sock, pieces):
    """Write all pieces to a blocking socket.

    A socket takes at most 1,024 pieces at once, and a signal handler may cut any
    write short.
    """
    if len(pieces) == 1:
        sock.sendall(pieces[0])
        return
    for piece in pieces:
        sock.sendall(piece)


class _Filling:
    """A big frame whose memory exists already and is being received into."""

    __slots__ = ("_frame", "_left", "_windows")

    def __init__(self, frame, windows):
        self._frame = frame
        self._windows = windows
        self._left = sum(len(window) for window in windows)

    def window(self):
        return self._windows[0]

    def advance(self, count):
        """Take note of ``count`` received bytes; return the frame when complete."""
        self._left -= count
        window = self._windows[0]
        if count == len(window):
            del self._windows[0]
        else:
            self._windows[0] = window[count:]
        return self._frame if not self._left else None


class FrameReader:
    """Cuts a stream into frames. One thread at a time may use it."""

    def __init__(self):
        self._chunk = memoryview(bytearray(CHUNK))
        self._tail = b""
        self._filling = None

    def read(self, recv_into):
        """Receive once and return the frames that are complete now.

        Args:
            recv_into: fills a writable buffer, returns the number of bytes, 0 at the
                end of the stream.

        Raises:
            EOFError: the stream ended.
            ProtocolError: what arrived is not a frame.
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
            return [frame]
        count = recv_into(self._chunk)
        if not count:
            raise EOFError
        data = (
            self._tail + self._chunk[:count]
            if self._tail
            else bytes(self._chunk[:count])
        )
        return self._cut(data)

    def _cut(self, data):
        frames = []
        offset, end = 0, len(data)
        while end - offset >= HEADER.size:
            magic, kind, flags, number, size = HEADER.unpack_from(data, offset)
            if magic != MAGIC or size > LARGEST_BODY or number > MOST_BUFFERS:
                raise ProtocolError(bytes(data[offset : offset + 64]))
            body = offset + HEADER.size
            if not number:
                if end - body >= size:
                    offset = body + size
                    frames.append(Frame(kind, flags, data[body:offset], (), ()))
                    continue
                if size > CHUNK:
                    _, offset = self._fill(kind, flags, size, (), data, body)
                break
            body += 8 * number
            if end < body:
                break
            fields = struct.unpack_from("<%dQ" % number, data, body - 8 * number)
            total = size + sum(field >> 1 for field in fields)
            if total > LARGEST_BODY:
                raise ProtocolError(bytes(data[offset : offset + 64]))
            if end - body < total and total <= CHUNK:
                break
            frame, offset = self._fill(kind, flags, size, fields, data, body)
            if frame is None:
                break
            frames.append(frame)
        self._tail = data[offset:] if offset < end else b""
        return frames

    def _fill(self, kind, flags, size, fields, data, offset):
        """Allocate a frame's memory and move into it what is here already.

        Returns the frame, or None while bytes are missing, and the new offset.
        """
        lengths = [size, *(field >> 1 for field in fields)]
        parts = [bytearray(length) for length in lengths]
        windows = []
        source = memoryview(data)
        for part, length in zip(parts, lengths):
            here = min(length, len(data) - offset)
            part[:here] = source[offset : offset + here]
            offset += here
            if here < length:
                windows.append(memoryview(part)[here:])
        frame = Frame(
            kind, flags, parts[0], tuple(parts[1:]), tuple(f & 1 for f in fields)
        )
        if windows:
            self._filling = _Filling(frame, windows)
            return None, offset
        return frame, offset
