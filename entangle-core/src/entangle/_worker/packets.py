"""Packets: what workers, their host and the caller say over one stream, in turns.

A packet is a 9-byte header (kind, number of the worker, length) and its content. DATA
packets carry a worker's own stream of frames, cut wherever it suits: so no large value
keeps others waiting. Each side of such a stream may have sent as many bytes as the
other one has given it credit for.

Nothing in a packet that a host sends needs to be unpickled.
"""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

HEAD = Struct("<BII")
LONGEST = 1 << 18  # bytes of content
WINDOW = 1 << 22  # bytes that a worker's stream, or its output, may be ahead

# caller -> host
FORK, GRANT, WITHDRAW, KILL, PING = range(1, 6)
# host -> caller
HELLO, FORKED, REFUSED, DIED, WITHDRAWN, UNSENT, PONG, STDOUT, STDERR = range(32, 41)
# both ways
DATA, CREDIT = range(64, 66)

COUNT = Struct("<Q")  # content of CREDIT; tokens in GRANT and WITHDRAWN
FATE = Struct("<iQ")  # content of DIED: status as of waitpid, number of the last body


class PacketError(Exception):
    """What arrived is no packet: somebody else has written to the stream."""


def pack(kind: int, worker: int = 0, content: Buffer = b"") -> bytes:
    """Return a packet in one piece."""
    return HEAD.pack(kind, worker, len(content)) + content


class Splitter:
    """Cuts a stream into packets."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, memoryview]]:
        """Yield kind, worker and content of the packets that are complete now.

        Contents are good until the next packet is asked for.

        Raises:
            PacketError: it is no packet.
        """
        if self._tail:
            data = self._tail + data
            self._tail = b""
        view, at, end = memoryview(data), 0, len(data)
        while end - at >= HEAD.size:
            kind, worker, length = HEAD.unpack_from(data, at)
            if length > LONGEST or not kind or kind > CREDIT:
                raise PacketError(data[at : at + 64])
            stop = at + HEAD.size + length
            if stop > end:
                break
            yield kind, worker, view[at + HEAD.size : stop]
            at = stop
        self._tail = data[at:]
