"""Frames survive any cut of their stream; anything else in it is noticed."""

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._worker import frames

BUFFERS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=40).map(bytearray),
        st.binary(max_size=40).map(memoryview),
    ),
    max_size=4,
)
FRAMES = st.lists(
    st.tuples(
        st.integers(0, 255), st.binary(max_size=60), BUFFERS, st.integers(0, 255)
    ),
    max_size=6,
)


class Stream:
    """Hands out bytes in pieces of given sizes, then in one piece, then the end."""

    def __init__(self, data, sizes=()):
        self.data = data
        self.sizes = list(sizes)
        self.received = 0

    def recv_into(self, window):
        size = self.sizes.pop(0) if self.sizes else len(self.data)
        count = min(size, len(window), len(self.data) - self.received)
        window[:count] = self.data[self.received : self.received + count]
        self.received += count
        return count


def read_all(data, sizes=(), reader=None):
    """Return all frames in a stream."""
    reader = reader or frames.FrameReader()
    stream = Stream(data, sizes)
    found = []
    while True:
        try:
            found.extend(reader.read(stream.recv_into))
        except EOFError:
            return found


def contents(frame):
    return (
        frame.kind,
        frame.flags,
        bytes(frame.body),
        [bytes(buffer) for buffer in frame.buffers],
        list(frame.marks),
    )


def packed(kind, body, buffers=(), flags=0):
    return b"".join(frames.pack(kind, body, buffers, flags))


def expected(kind, body, buffers, flags):
    readonly = [int(memoryview(buffer).readonly) for buffer in buffers]
    return kind, flags, body, [bytes(buffer) for buffer in buffers], readonly


@given(FRAMES, st.lists(st.integers(1, 50), max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_frames_in_any_pieces(sent, sizes):
    data = b"".join(packed(*frame) for frame in sent)
    found = read_all(data, sizes)
    assert [contents(frame) for frame in found] == [expected(*frame) for frame in sent]


@given(FRAMES, st.data())
@settings(max_examples=50, deadline=None)
def test_a_stream_that_ends_early_brings_whole_frames_only(sent, data):
    stream = b"".join(packed(*frame) for frame in sent)
    end = data.draw(st.integers(0, len(stream)))
    found = [contents(frame) for frame in read_all(stream[:end])]
    assert found == [expected(*frame) for frame in sent][: len(found)]


@pytest.mark.parametrize(
    "size", [0, 1, frames.CHUNK - 16, frames.CHUNK, frames.CHUNK + 1, 3 * frames.CHUNK]
)
@pytest.mark.parametrize("step", [10_007, 100_003, 1 << 30])
def test_bodies_around_the_size_of_a_chunk(size, step):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    data = packed(1, b"before") + packed(2, body) + packed(3, b"after")
    found = read_all(data, [step] * (len(data) // step + 1))
    assert [frame.kind for frame in found] == [1, 2, 3]
    assert [bytes(f.body) for f in found] == [b"before", body, b"after"]


@pytest.mark.parametrize("step", [7_919, 65_536, 1 << 30])
def test_big_buffers_with_empty_ones_between(step):
    buffers = [
        b"",
        bytearray(b"a" * 300_000),
        b"",
        b"b" * 5,
        bytearray(),
        b"c" * 99_999,
    ]
    data = packed(9, b"body", buffers, 3) + packed(1, b"after")
    big, after = read_all(data, [step] * (len(data) // step + 1))
    assert contents(big) == expected(9, b"body", buffers, 3)
    assert after.body == b"after"


def test_bytes_received_after_a_big_frame_belong_to_the_next_one():
    data = packed(1, b"x" * (frames.CHUNK + 5)) + packed(2, b"y")
    found = read_all(data, [frames.CHUNK, 3])
    assert [len(frame.body) for frame in found] == [frames.CHUNK + 5, 1]


def test_big_frames_are_received_into_their_own_memory():
    """Once the header is known, no byte of a big frame goes through the chunk."""
    data = packed(1, b"", [bytearray(4 * frames.CHUNK)])
    stream = Stream(data, [100])
    reader = frames.FrameReader()
    assert reader.read(stream.recv_into) == []
    (frame,) = reader.read(stream.recv_into)
    assert isinstance(frame.buffers[0], bytearray)
    assert len(frame.buffers[0]) == 4 * frames.CHUNK


def test_many_big_buffers_are_no_slower_than_their_bytes():
    data = packed(1, b"", [b"z" * 200] * 20_000)
    (frame,) = read_all(data, [100_000] * 1000)
    assert len(frame.buffers) == 20_000
    assert set(map(bytes, frame.buffers)) == {b"z" * 200}


def test_multidimensional_buffers_travel_flat():
    view = memoryview(bytearray(b"abcdefgh")).cast("B", (2, 4))
    (frame,) = read_all(packed(1, b"", [view]))
    assert frame.buffers == (bytearray(b"abcdefgh"),)
    assert frame.marks == (0,)


def test_empty_buffers_take_no_piece_of_their_own():
    assert len(frames.pack(1, b"body", [b"", bytearray(), b"x"])) == 2
    assert len(frames.pack(1, b"body")) == 1


@pytest.mark.parametrize(
    "junk",
    [
        b"Traceback (most recent call last)",
        frames.HEADER.pack(b"nE", 1, 0, 0, 0),
        frames.HEADER.pack(frames.MAGIC, 1, 0, 0, frames.LARGEST_BODY + 1),
        frames.HEADER.pack(frames.MAGIC, 1, 0, frames.MOST_BUFFERS + 1, 0),
        frames.HEADER.pack(frames.MAGIC, 1, 0, 2, 0)
        + struct.pack("<QQ", frames.LARGEST_BODY << 2, 4),
    ],
)
@pytest.mark.parametrize("sizes", [(), (1,) * 200])
def test_what_is_no_frame_is_refused(junk, sizes):
    with pytest.raises(frames.ProtocolError) as caught:
        read_all(junk, sizes)
    assert caught.value.args[0] == junk[: len(caught.value.args[0])]


def test_a_refused_stream_stays_refused():
    reader = frames.FrameReader()
    with pytest.raises(frames.ProtocolError):
        read_all(packed(1, b"good") + b"no frame at all.", reader=reader)
    with pytest.raises(frames.ProtocolError):
        read_all(packed(1, b"good"), reader=reader)


def test_a_frame_beyond_all_memory_is_refused(monkeypatch):
    def no_memory(size):
        raise MemoryError(size)

    reader = frames.FrameReader()
    monkeypatch.setattr(frames, "bytearray", no_memory, raising=False)
    header = frames.HEADER.pack(frames.MAGIC, 1, 0, 0, 1 << 41)
    with pytest.raises(frames.ProtocolError, match=r"2,199,023,255,552 bytes"):
        read_all(header + b"begin", reader=reader)
    with pytest.raises(frames.ProtocolError):
        read_all(b"more", reader=reader)


def test_the_end_inside_a_big_frame_is_an_end():
    data = packed(1, b"x" * (2 * frames.CHUNK))
    assert read_all(data[:-1]) == []


def test_frames_go_through_a_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.send(ours, frames.pack(5, b"small", flags=frames.DIRTY))
        frames.send(ours, frames.pack(6, b"body", [b"one", bytearray(b"two")]))
        ours.shutdown(socket.SHUT_WR)
        reader, found = frames.FrameReader(), []
        while len(found) < 2:
            found += reader.read(theirs.recv_into)
    assert [contents(frame) for frame in found] == [
        (5, 1, b"small", [], []),
        (6, 0, b"body", [b"one", b"two"], [1, 0]),
    ]
