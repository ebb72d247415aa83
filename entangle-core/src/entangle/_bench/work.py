"""The functions that every peer runs; importable by workers of any kind."""

import time


def noop() -> None:
    """Do nothing: what remains is the peer's own cost."""


def one(x: int) -> int:
    """Return the argument: a call with a small message each way."""
    return x


def inc(x: int) -> int:
    """Add one: a link of a chain."""
    return x + 1


def add(a: int, b: int, c: int) -> int:
    """Add three parents' values, kept small so that messages stay alike."""
    return (a + b + c) & 0xFFFF


def spin(seconds: float) -> None:
    """Keep a processor busy for some seconds of its own time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
