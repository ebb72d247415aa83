"""Tasks of a module, which both ends find by its name; it imports little there."""

import os
import sys

from entangle.backend import CommandStream, StreamExecutor, infrastructure
from entangle.process import process
from entangle.task import gather, task
from entangle.thread import thread
from entangle.workflow import workflow


class NearExecutor(StreamExecutor):
    """Runs calls in a Python of this machine; for a decorator.

    Args:
        python: The interpreter; empty for this one.
        places: How many there are.
        calls: How many calls one takes at once.
        once: Whether each takes one call.
        trust: Whether what it pickles is decoded.
    """

    def __init__(
        self,
        *,
        python: str = "",
        places: int = 1,
        calls: int = 1,
        once: bool = False,
        trust: bool = True,
    ):
        super().__init__(places=places, calls=calls, once=once, trust=trust)
        self.python = python or sys.executable

    def open(self, command):
        return CommandStream([self.python, *command[1:]])


near = infrastructure(NearExecutor)


@process
def double(number):
    """Return twice as much."""
    return 2 * number


def all_doubled(count):
    """Run a graph inside of a task."""
    return gather(*[double(number) for number in range(count)])()


def add(number):
    """Count on."""
    return number + 1


@near
def deep(level):
    return [os.getpid(), *deep(level - 1)()] if level else []


@near
def pid():
    return os.getpid()


@near
def pid_and_below():
    return os.getpid(), gather(pid(), pid())()


@near(once=True)
def deep_alone(level):
    return [os.getppid(), *deep_alone(level - 1)()] if level else []


@task(limit=1)
@near(calls=2)
def deep_limited(level):
    return 1 + deep_limited(level - 1)() if level else 0


@near
def sometimes(number):
    return near(add)(number - 1)() if number % 25 == 0 else number


@near
def mixed(level):
    if not level:
        return 0
    how = (thread, workflow, process, near)[level % 4]
    return 1 + how(mixed.fn)(level - 1)()


class Unwilling:
    """Has something against being pickled."""

    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        raise self.kind("no")


def makes_function():
    return lambda: 1


def raises_its_own():
    class OwnError(Exception):
        def __str__(self):
            return "of its own"

    error = OwnError()
    error.add_note("noted")
    raise error


def asks_for_function():
    return thread(makes_function)()()()


def asks_for_error():
    thread(raises_its_own)()()
