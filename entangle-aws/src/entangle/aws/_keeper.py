"""The program that keeps an instance for one client: joins it to a Python, then ends.

It is sent as it is in an instance's user data, and run there by any Python from 3.9 on.
It takes one connection of the loopback, which leads to the client; what speaks there
has to know a secret of which the instance has but the digest. It starts a Python and
carries its standard input and output. When one of the two ends, or the client is not
heard any more, so does this program, and with it the instance.

On the way are frames: a letter, seven hexadecimal digits, so many bytes. AWS's session
plugin makes a carriage return of a line feed that it happens to read alone; so frames
hold none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

DATA = b"D"
BEAT = b"B"  # nothing but a sign of life
COMMAND = b"C"  # from the client: what to run, as JSON
END = b"E"  # to the client: how that has ended, as JSON
KINDS = DATA, BEAT, COMMAND, END
MOST = 1 << 15
"""Bytes that a frame carries at most."""
SECRET = 64
"""Characters of the secret."""

_HEAD = 8
_HEADER = re.compile(b"([DBCE])(00[0-9a-f]{5})")  # of less than a megabyte
_BEATS = 4  # in the time after which a silent client is gone
_GREETING = 30.0  # seconds for what is said first
_SAID = 2000  # bytes of what is printed to standard error that are kept


def encoded(kind: bytes, data: bytes | memoryview = b"") -> bytes:
    """Return a frame."""
    body = bytes(data).replace(b"\x1b", b"\x1b[").replace(b"\n", b"\x1b]")
    return b"%b%07x%b" % (kind, len(body), body)


def greeting(secret: bytes) -> bytes:
    """Return what who knows the digest of a secret answers to it."""
    return hashlib.sha256(b"entangle:" + secret).hexdigest().encode()


class Frames:
    """Takes frames apart, in whatever pieces they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the frames that are complete now.

        Raises:
            ValueError: What comes next is no frame.
        """
        self._data += data
        found: list[tuple[bytes, bytes]] = []
        while True:
            head = _HEADER.match(self._data)
            if head is None:
                if found or len(self._data) < _HEAD:
                    return found
                raise ValueError("no frame")
            end = _HEAD + int(head[2], 16)
            if len(self._data) < end:
                return found
            body = bytes(self._data[_HEAD:end])
            del head  # which has it locked
            kind = bytes(self._data[:1])
            del self._data[:end]
            body = body.replace(b"\x1b]", b"\n").replace(b"\x1b[", b"\x1b")
            found.append((kind, body))


class Client:
    """A connection that may be the client's.

    Args:
        connection: It.
        silence: Seconds without a byte after which it is lost.
    """

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._connection = connection
        self._silence = silence
        self._frames = Frames()
        self._sending = threading.Lock()
        self._over = threading.Event()

    def command(self, digest: str) -> list[str] | None:
        """Return what the client wants to be run; None if it is not the client."""
        until = time.monotonic() + _GREETING
        secret = b""
        while len(secret) < SECRET:
            part = self._read(until - time.monotonic(), SECRET - len(secret))
            if not part:
                return None
            secret += part
        if hashlib.sha256(secret).hexdigest() != digest:
            return None
        self._connection.sendall(greeting(secret))
        while True:
            data = self._read(until - time.monotonic(), 1 << 16)
            if not data:
                return None
            for kind, body in self._frames.feed(data):
                if kind == COMMAND:
                    wanted: list[str] = json.loads(body)
                    return wanted

    def serve(self, command: list[str]) -> None:
        """Run a command and carry its input and output, until one side ends."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(  # noqa: S603 - what the client says
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
            cwd=os.path.expanduser("~"),  # noqa: PTH111 - pathlib would be an import
        )
        for work in (self._carry_output, self._beat):
            threading.Thread(target=work, args=(process,), daemon=True).start()
        try:
            self._carry_input(process)
        finally:
            self._over.set()
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _read(self, seconds: float, size: int) -> bytes:
        """Return what has come; nothing at the end, or if it takes too long."""
        if not select.select([self._connection], [], [], max(0.0, seconds))[0]:
            return b""
        return self._connection.recv(size)

    def _send(self, kind: bytes, data: bytes = b"") -> None:
        with self._sending:
            self._connection.sendall(encoded(kind, data))

    def _carry_input(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(OSError, ValueError):
            while True:
                data = self._read(self._silence, 1 << 16)
                if not data:
                    return
                for kind, body in self._frames.feed(data):
                    if kind == DATA:
                        _give(process, body)

    def _carry_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - as above
        said = bytearray()
        listener = threading.Thread(target=_listen, args=(process, said), daemon=True)
        listener.start()
        with suppress(OSError):
            while True:
                data = process.stdout.read(MOST)
                if not data:
                    break
                self._send(DATA, data)
            code = process.wait()
            listener.join(1.0)
            end = {"code": code, "said": said.decode(errors="replace")}
            self._send(END, json.dumps(end).encode())
            self._connection.shutdown(socket.SHUT_WR)

    def _beat(self, process: subprocess.Popen[bytes]) -> None:
        del process
        with suppress(OSError):
            while not self._over.wait(self._silence / _BEATS):
                self._send(BEAT)


def _give(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - for checkers
    left = memoryview(data)
    # Of one that has ended the client is told.
    with suppress(OSError):
        while left:
            left = left[process.stdin.write(left) or 0 :]


def _listen(process: subprocess.Popen[bytes], said: bytearray) -> None:
    assert process.stderr is not None  # noqa: S101 - as above
    while True:
        data = process.stderr.read(4096)
        if not data:
            break
        said += data
        del said[:-_SAID]


def keep(port: int, digest: str, patience: float, silence: float) -> None:
    """Wait for the client and serve it.

    Args:
        port: Of the loopback.
        digest: The SHA-256 of the secret that the client knows.
        patience: Seconds to wait for it.
        silence: Seconds without a sign of life after which it is gone.
    """
    until = time.monotonic() + patience
    with socket.create_server(("127.0.0.1", port)) as listener:
        while time.monotonic() < until:
            listener.settimeout(max(0.1, until - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except OSError:
                continue
            with connection, suppress(OSError, ValueError):
                connection.setblocking(True)
                client = Client(connection, silence)
                command = client.command(digest)
                if command:
                    listener.close()
                    client.serve([sys.executable, *command[1:]])
                    return


if __name__ == "__main__":
    keep(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
