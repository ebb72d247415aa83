"""Streams to Pythons of this machine pass the suite that every place has to pass."""

import sys

import pytest
from remote_kit import SocketStream

from entangle.backend import CommandStream, StreamExecutor
from entangle.testing import StreamConformance

pytestmark = pytest.mark.process


class HereExecutor(StreamExecutor):
    """Runs calls in this machine's Python, over pipes."""

    def open(self, command):
        return CommandStream([sys.executable, *command[1:]])


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
