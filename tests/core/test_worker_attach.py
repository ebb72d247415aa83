"""Encoded values travel inside a call's arguments without being decoded."""

import _thread
import threading

import numpy as np
import pytest

from entangle._worker import attach, codec, frames
from entangle._worker.attach import Attached, Parcel, encode_arguments


def parcel(value, number=0):
    """Return a value as a worker's answer brings it."""
    blob = codec.encode(value)
    return Parcel(blob.data, blob.buffers, number)


def through(args, kwargs=None):
    """Carry arguments over a stream; also return what goes ahead of them."""
    data, own, buffers, shared = encode_arguments(args, kwargs)
    pieces = frames.pack(frames.CALLS, b"", buffers)
    stream = memoryview(b"".join(pieces))
    reader = frames.FrameReader()
    found = []

    def recv_into(window):
        nonlocal stream
        count = min(len(window), len(stream))
        window[:count] = stream[:count]
        stream = stream[count:]
        return count

    while not found:
        found = reader.read(recv_into)
    known = {one.number: one for one in shared}
    return Attached(data, own, found[0], known).decode(), shared


def test_plain_arguments():
    (args, kwargs), shared = through((1, [2, 3]), {"x": {4}})
    assert (args, kwargs, shared) == ((1, [2, 3]), {"x": {4}}, [])
    assert through((), None)[0] == ((), None)


def test_parcels_arrive_as_values_at_any_depth():
    (args, kwargs), shared = through(
        (parcel("a"), [1, {"k": parcel([2])}]), {"x": (parcel({3}),)}
    )
    assert args == ("a", [1, {"k": [2]}])
    assert kwargs == {"x": ({3},)}
    assert shared == []


def test_the_same_parcel_twice_stays_one_object():
    value = parcel([1, 2])
    ((first, second), kwargs), _ = through((value, [value]), {"x": value})
    assert first == [1, 2]
    assert first is second[0] is kwargs["x"]


def test_two_parcels_of_equal_values_are_two_objects():
    ((first, second), _), _ = through((parcel([1]), parcel([1])))
    assert first == second
    assert first is not second


def test_buffers_of_arguments_and_of_parcels_do_not_mix():
    own, other = np.arange(5000.0), np.ones(7000)
    frozen = np.zeros(6000)
    frozen.flags.writeable = False
    sent = (own, parcel([other, "text"]), frozen, parcel(frozen))
    (args, _), _ = through(sent)
    assert np.array_equal(args[0], own)
    assert np.array_equal(args[1][0], other)
    assert args[1][1] == "text"
    assert [array.flags.writeable for array in (*args[1][:1], *args[2:])] == [
        True,
        False,
        False,
    ]
    args[0][0] = 5  # is memory of this call alone
    assert own[0] == 0


def test_shared_values_go_ahead_once_and_are_copied_for_each_call():
    value = parcel({"big": np.arange(3000)}, number=7)
    data, own, buffers, shared = encode_arguments((value, [value]), None)
    assert shared == [value]
    assert buffers == []
    known = {7: value}
    empty = frames.Frame(frames.CALLS, 0, b"", (), ())
    calls = [Attached(data, own, empty, known).decode()[0] for _ in range(2)]
    for first, second in calls:
        assert first is second[0]
    assert calls[0][0] is not calls[1][0]
    calls[0][0]["big"][0] = 99
    assert calls[1][0]["big"][0] == 0


def test_a_shared_value_that_never_came_is_an_error():
    data, own, _, _ = encode_arguments((parcel([1], number=3),), None)
    empty = frames.Frame(frames.CALLS, 0, b"", (), ())
    with pytest.raises(codec.DecodeError, match="3"):
        Attached(data, own, empty, {}).decode()


def test_a_parcel_travels_in_arguments_only():
    with pytest.raises(codec.EncodeError, match="only inside a call's arguments"):
        codec.encode([parcel(1)])
    with pytest.raises(TypeError, match="inside their message"):
        attach.attached(0, 0)


def test_arguments_that_do_not_pickle_name_the_place_and_leave_nothing():
    with pytest.raises(codec.EncodeError):
        encode_arguments((parcel(1), _thread.allocate_lock()), None)
    assert attach._active == {}


def test_damaged_arguments_leave_nothing():
    empty = frames.Frame(frames.CALLS, 0, b"", (), ())
    with pytest.raises(codec.DecodeError):
        Attached(b"no pickle", 0, empty, {}).decode()
    assert attach._active == {}


class Nesting:
    """Encodes other arguments while it is itself encoded, and decodes likewise."""

    def __init__(self, inner):
        self.inner = inner

    def __reduce__(self):
        data, own, buffers, _ = encode_arguments((self.inner, self.inner), None)
        return decoded, (data, own, [bytes(buffer) for buffer in buffers])


def decoded(data, own, buffers):
    parts = tuple(map(bytearray, buffers))
    frame = frames.Frame(frames.CALLS, 0, b"", parts, (0,) * len(parts))
    return Attached(data, own, frame, {}).decode()[0]


def test_arguments_inside_arguments_keep_apart():
    outer = parcel("outer")
    (args, _), _ = through((outer, Nesting(parcel(["inner"])), outer))
    assert args == ("outer", (["inner"], ["inner"]), "outer")
    assert args[1][0] is args[1][1]
    assert attach._active == {}


def test_threads_keep_apart():
    errors = []

    def work(number):
        for _ in range(50):
            (args, _), _ = through((parcel(number), [parcel(-number)]))
            if args != (number, [-number]):
                errors.append(args)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_received_parcels_keep_what_was_read_only():
    got = attach.received(b"data", (bytearray(b"a"), bytearray(b"b")), (1, 0))
    assert [memoryview(buffer).readonly for buffer in got.buffers] == [True, False]
    assert got.number == 0
