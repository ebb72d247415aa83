"""Streams to Pythons of this machine pass the suite that every place has to pass."""

import socket
import subprocess
import sys

import pytest

from entangle.backend import CommandStream, Stream, StreamExecutor
from entangle.testing import StreamConformance

pytestmark = pytest.mark.process


class HereExecutor(StreamExecutor):
    """Runs calls in this machine's Python, over pipes."""

    def open(self, command):
        return CommandStream([sys.executable, *command[1:]])


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


class ThreadsExecutor(StreamExecutor):
    """Runs calls in this machine's Python, over a socket that threads serve."""

    def open(self, command):
        return SocketStream([sys.executable, *command[1:]])


class SocketExecutor(ThreadsExecutor):
    """Runs calls in this machine's Python, over a socket that the loop serves."""

    def open(self, command):
        stream = super().open(command)
        number = stream.socket.fileno()
        stream.descriptors = lambda: (number, number)
        return stream


class TestByDescriptors(StreamConformance):
    @pytest.fixture
    def executor(self):
        with HereExecutor() as executor:
            yield executor


class TestByThreads(StreamConformance):
    @pytest.fixture
    def executor(self):
        with ThreadsExecutor(calls=3) as executor:
            yield executor


class TestByOneDescriptor(StreamConformance):
    @pytest.fixture
    def executor(self):
        with SocketExecutor(places=2, calls=2) as executor:
            yield executor
