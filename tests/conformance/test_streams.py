"""Streams to Pythons of this machine pass the suite that every place has to pass."""

import sys

import pytest

from entangle.backend import CommandStream, StreamExecutor
from entangle.testing import ExecutorConformance

pytestmark = pytest.mark.process


class HereExecutor(StreamExecutor):
    """Runs calls in this machine's Python, over pipes."""

    def open(self, command):
        return CommandStream([sys.executable, *command[1:]])


class TestByDescriptors(ExecutorConformance):
    @pytest.fixture
    def executor(self):
        with HereExecutor() as executor:
            yield executor
