"""What passes over a stream, bit by bit: answers among noise, packets, plain data."""

import math
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_kit import interpreter

from entangle._remote import bootstrap
from entangle._remote.handshake import Handshake, Hello, Refused, read_hello
from entangle._worker import packets, plain

MARKER = b"\n0123456789abcdef01234567 "
ANSWER = b"3.11.4 cpython-311\n"


def fed(handshake, data, sizes):
    """Feed a handshake in pieces until it has found the answer."""
    at = 0
    for size in sizes:
        found = handshake.feed(data[at : at + size])
        at += size
        if found is not None:
            return found[0], found[1] + data[at:]
    return handshake.feed(data[at:])


# -- the answer


@given(st.binary(max_size=300), st.binary(max_size=20), st.lists(st.integers(1, 40)))
def test_an_answer_is_found_in_any_noise(noise, rest, sizes):
    """However the stream is cut into pieces."""
    found = fed(Handshake(MARKER), noise + MARKER + ANSWER + rest, sizes)
    assert found == (bootstrap.payload("cpython-311"), rest)


@given(st.integers(1, len(MARKER) - 1))
def test_noise_that_ends_like_the_answer(length):
    found = fed(Handshake(MARKER), MARKER[:length] + MARKER + ANSWER, [])
    assert found is not None


def test_what_was_said_before_is_kept():
    handshake = Handshake(MARKER)
    handshake.feed(b"x" * 10_000 + b"\n\nno such user\r\n")
    assert handshake.said().endswith("no such user")
    assert len(handshake.said()) < 3_000


def test_what_was_said_can_be_shown():
    handshake = Handshake(MARKER)
    handshake.feed(b"y\n" * 1_000 + b"\x1b[2J\x07no\trouble \xc3\xa9\n" + MARKER[:3])
    said = handshake.said().splitlines()
    assert len(said) == 20
    assert "\\x1b[2J\\x07no\trouble é" in said


def test_the_answer_is_nothing_that_was_said():
    handshake = Handshake(MARKER)
    with pytest.raises(Refused):
        handshake.feed(b"welcome" + MARKER + b"2.7.18 \n")
    assert handshake.said() == "welcome"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"2.7.18 \n", "2.7.18"),
        (b"3.8.18 cpython-38\n", r"3.8.18; 3.9 or newer"),
        (b"many.words \n", "no version"),
        (b"x" * 500, "no version"),
    ],
)
def test_answers_that_are_no_use(line, message):
    with pytest.raises(Refused, match=message):
        Handshake(MARKER).feed(MARKER + line)


def test_endless_noise_is_refused():
    handshake = Handshake(MARKER)
    with pytest.raises(Refused, match="other things"):
        for _ in range(100):
            handshake.feed(bytes(1 << 20))


def test_what_hosts_say_of_themselves():
    about = {
        "python": (3, 12, 1),
        "implementation": "cpython",
        "platform": "linux",
        "machine": "x86_64",
        "pid": 7,
        "cpus": 0,
    }
    hello = read_hello(packets.HELLO, plain.encode(about))
    assert hello == Hello((3, 12, 1), "cpython", "linux", "x86_64", 7, 1)
    for kind, content in (
        (packets.PONG, plain.encode(about)),
        (packets.HELLO, plain.encode({})),
        (packets.HELLO, plain.encode(3)),
        (packets.HELLO, b"no data"),
    ):
        with pytest.raises(Refused, match="no host"):
            read_hello(kind, content)


# -- the command


def test_the_command_passes_through_shells():
    command, marker = bootstrap.command()
    assert command[:2] == ["python3", "-c"]
    assert not set(command[2]) & set("'`$!\n\r\t")
    assert len(command[2]) < 1000
    # A shell that echoes it is not taken for the answer.
    assert marker.strip().decode() not in command[2]
    assert bootstrap.command()[1] != marker


@pytest.mark.process
@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8"])
def test_old_pythons_say_their_version(version):
    command, marker = bootstrap.command(interpreter(version))
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 3
    assert (marker + version.encode()) in done.stdout
    assert not done.stderr


@pytest.mark.process
@pytest.mark.parametrize("size", [0, 5, 900, 20_000])
def test_a_host_whose_stream_ends_early(size):
    """It ends without a word, whatever it has got of what it needs."""
    command, _ = bootstrap.command(sys.executable)
    data = bootstrap.payload(sys.implementation.cache_tag)[:size]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 4
    assert not done.stderr


# -- packets


@given(
    st.lists(
        st.tuples(
            st.integers(1, packets.CREDIT), st.integers(0, 2**32 - 1), st.binary()
        )
    ),
    st.lists(st.integers(1, 50)),
)
def test_packets_arrive_however_they_are_cut(sent, sizes):
    stream = b"".join(packets.pack(*packet) for packet in sent)
    splitter = packets.Splitter()
    got = []
    for size in [*sizes, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        got += [(k, w, bytes(content)) for k, w, content in splitter.feed(piece)]
    assert got == sent


@pytest.mark.parametrize(
    "data",
    [
        packets.HEAD.pack(0, 0, 0),
        packets.HEAD.pack(200, 0, 0),
        packets.HEAD.pack(packets.DATA, 1, packets.LONGEST + 1),
        b"Traceback (most recent call last)",
    ],
)
def test_what_is_no_packet(data):
    with pytest.raises(packets.PacketError):
        list(packets.Splitter().feed(data))


# -- plain data

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(blacklist_categories=()))
    | st.binary()
)
KEYS = st.integers() | st.text() | st.tuples(st.binary()) | st.none()
VALUES = st.recursive(
    ATOMS | st.builds(bytearray, st.binary()) | st.sets(KEYS) | st.frozensets(KEYS),
    lambda each: st.lists(each) | st.tuples(each, each) | st.dictionaries(KEYS, each),
    max_leaves=10,
)


def shown(value):
    """Return what tells values apart that are not equal to themselves, or are."""
    if type(value) in {set, frozenset}:
        return type(value), sorted(map(repr, map(shown, value)))
    if type(value) is dict:
        return dict, [(shown(key), shown(item)) for key, item in value.items()]
    if type(value) in {list, tuple}:
        return type(value), [*map(shown, value)]
    return type(value), repr(value)


@given(VALUES)
def test_plain_data_come_back(value):
    assert shown(plain.decode(plain.encode(value))) == shown(value)


@given(st.binary())
def test_any_bytes_are_data_or_an_error(data):
    try:
        value = plain.decode(data)
    except plain.NotPlainError:
        return
    assert plain.decode(plain.encode(value)) is not NotImplemented


@given(VALUES, st.data())
def test_data_that_are_cut_or_changed(value, data):
    """Never more than an error: no code runs, and no memory is asked for."""
    encoded = bytearray(plain.encode(value))
    with pytest.raises(plain.NotPlainError):
        plain.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    try:
        plain.decode(encoded)
    except plain.NotPlainError:
        pass


@pytest.mark.parametrize(
    "value",
    [
        object(),
        print,
        math,
        os.stat("."),
        type("C", (int,), {})(3),
        [{1: {2: range(3)}}],
    ],
)
def test_what_is_not_plain(value):
    with pytest.raises(plain.NotPlainError, match="result"):
        plain.encode(value)


def test_deep_data():
    deep = []
    for _ in range(plain.MOST_LEVELS + 1):
        deep = [deep]
    with pytest.raises(plain.NotPlainError, match="deeply"):
        plain.encode(deep)
    around = []
    around.append(around)
    with pytest.raises(plain.NotPlainError, match="itself"):
        plain.encode(around)
    with pytest.raises(plain.NotPlainError, match="deeply"):
        plain.decode(b"l\1\0\0\0\0\0\0\0" * 100_000)


def test_pickles_are_not_plain():
    with pytest.raises(plain.NotPlainError):
        plain.decode(pickle.dumps([1], 5))
