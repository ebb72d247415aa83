"""What keeps an instance, without an instance: frames, secrets, ends."""

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from life_kit import until

from entangle.aws import _keeper
from entangle.aws._keeper import (
    BEAT,
    COMMAND,
    DATA,
    END,
    KINDS,
    Frames,
    encoded,
    greeting,
)

SECRET = secrets.token_hex(32).encode()
DIGEST = hashlib.sha256(SECRET).hexdigest()
PIECES = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.binary(max_size=300) | st.text("\n\r\x1b[]", max_size=9).map(str.encode),
    ),
    max_size=9,
)


@given(PIECES, st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_frames_come_as_they_were_in_any_pieces(pieces, sizes):
    """And hold no line feed, of which AWS's plugin makes something else."""
    data = b"".join(encoded(kind, body) for kind, body in pieces)
    assert b"\n" not in data
    frames, found = Frames(), []
    for size in sizes:
        found += frames.feed(data[:size])
        data = data[size:]
    found += frames.feed(data)
    assert found == pieces


@given(st.binary(min_size=8))
def test_what_is_no_frame_is_refused(noise):
    """After the frames that came before it."""
    noise = b"\n" + noise
    frames = Frames()
    assert frames.feed(encoded(DATA, b"last") + noise) == [(DATA, b"last")]
    with pytest.raises(ValueError, match="frame"):
        frames.feed(b"")


@pytest.fixture
def keeper():
    """Start one; return how to connect to it, and its process."""
    made = []

    def start(patience=60.0, silence=60.0):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # As in an instance: from its standard input.
        process = subprocess.Popen(
            [sys.executable, "-", str(port), DIGEST, str(patience), str(silence)],
            stdin=subprocess.PIPE,
        )
        made.append(process)
        with process.stdin as program:
            program.write(Path(_keeper.__file__).read_bytes())
        return port, process

    yield start
    for process in made:
        process.kill()
        process.wait()


def connect(port):
    """Connect as soon as it listens."""
    found = []

    def tried():
        try:
            found.append(socket.create_connection(("127.0.0.1", port)))
        except ConnectionRefusedError:
            return False
        return True

    until(tried)
    found[0].settimeout(60)
    return found[0]


def received(connection, frames, kind):
    """Return what the next frame of a kind carries."""
    while True:
        data = connection.recv(1 << 16)
        assert data, "it has ended"
        for found, body in frames.feed(data):
            if found == kind:
                return body


def greeted(port, *command):
    connection = connect(port)
    connection.sendall(SECRET)
    wanted = greeting(SECRET)
    answer = b""
    while len(answer) < len(wanted):
        answer += connection.recv(len(wanted) - len(answer))
    assert answer == wanted
    connection.sendall(encoded(COMMAND, json.dumps(["python3", *command]).encode()))
    return connection


@pytest.mark.process
def test_bytes_go_both_ways_and_the_end_is_told(keeper):
    port, process = keeper()
    program = (
        "import os,sys\nd=os.read(0,99)\nos.write(2,b'oh')\nos.write(1,d*2);sys.exit(7)"
    )
    with greeted(port, "-c", program) as connection:
        connection.sendall(encoded(DATA, b"\n\x1b\r"))
        frames = Frames()
        assert received(connection, frames, DATA) == b"\n\x1b\r" * 2
        assert json.loads(received(connection, frames, END)) == {
            "code": 7,
            "said": "oh",
        }
    assert process.wait(60) == 0


@pytest.mark.process
def test_who_does_not_know_the_secret_is_turned_away(keeper):
    """The client that comes after is served."""
    port, _ = keeper()
    for said in (b"x" * 64, b"GET / HTTP/1.1\r\n"):
        with connect(port) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(1) == b""
    with greeted(port, "-c", "print('here', end='')") as connection:
        assert received(connection, Frames(), DATA) == b"here"


@pytest.mark.process
def test_nobody_comes(keeper):
    _, process = keeper(patience=0.3)
    assert process.wait(60) == 0


@pytest.mark.process
@pytest.mark.parametrize("how", ["silent", "closed", "garbage"])
def test_a_client_that_is_gone(keeper, how):
    """What was started ends, and so does the keeper."""
    port, process = keeper(silence=0.5 if how == "silent" else 60.0)
    program = "import os,time;os.write(1,str(os.getpid()).encode());time.sleep(600)"
    connection = greeted(port, "-c", program)
    with connection:
        frames = Frames()
        pid = int(received(connection, frames, DATA))
        if how == "silent":
            received(connection, frames, BEAT)
        elif how == "garbage":
            connection.sendall(b"\n\nExiting session with sessionId: x.\n\n")
        else:
            connection.close()
        assert process.wait(60) == 0
    until(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.process
def test_a_client_that_beats_is_there(keeper):
    port, process = keeper(silence=0.8)
    over = threading.Event()
    with greeted(port, "-c", "input()") as connection:

        def beat():
            while not over.wait(0.1):
                connection.sendall(encoded(BEAT))

        thread = threading.Thread(target=beat)
        thread.start()
        frames = Frames()
        for _ in range(8):
            received(connection, frames, BEAT)
        assert process.poll() is None
        over.set()
        thread.join()
