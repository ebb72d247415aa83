"""Places of this machine for the tests of streams: interpreters over pipes and sockets."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from entangle.backend import CommandStream, Stream, StreamExecutor


class HereExecutor(StreamExecutor):
    """Runs calls in a Python of this machine, over pipes.

    Attributes:
        streams: The streams that were opened.
    """

    def __init__(self, python=sys.executable, *, env=None, cwd=None, **settings):
        super().__init__(**settings)
        self.python = python
        self.env = env
        self.cwd = cwd
        self.streams = []

    @property
    def label(self):
        return "here"

    def open(self, command):
        words = [self.python] if isinstance(self.python, (str, Path)) else self.python
        stream = CommandStream([*words, *command[1:]], env=self.env, cwd=self.cwd)
        self.streams.append(stream)
        return stream


class SocketStream(Stream):
    """A stream over one socket, with nothing but what has to be there."""

    def __init__(self, command):
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs)

    def read(self, size):
        return self.socket.recv(size)

    def write(self, data):
        self.socket.sendall(data)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.process.wait()
        self.socket.close()

    kill = close


def interpreter(version):
    """Return another Python of this machine; skips the test where there is none."""
    found = sorted(_pythons(version))
    if not found:
        pytest.skip(f"no Python {version} on this machine")
    return str(found[-1])


def _pythons(version):
    root = os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser()
    yield from Path(root, "versions").glob(f"{version}.*/bin/python{version}")
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder, f"python{version}")
        # One of pyenv's leads to a version that may not be switched on.
        if path.exists() and "shims" not in path.parts:
            yield path
