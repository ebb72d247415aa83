"""The graph that `entangle demo` shows and runs."""

import os
import sys
import time

from entangle.process import process

SECONDS = 0.25


def work(text: str) -> None:
    """Take some time, then say what was computed, and where."""
    time.sleep(SECONDS)
    print(f"    {text:20} in process {os.getpid()}", file=sys.stderr)


# The program
@process
def one() -> int:
    work("one() = 1")
    return 1


@process
def two() -> int:
    work("two() = 2")
    return 2


@process
def three() -> int:
    work("three() = 3")
    return 3


@process
def mult(a: int, b: int) -> int:
    work(f"mult({a}, {b}) = {a * b}")
    return a * b


@process
def add(a: int, b: int) -> int:
    work(f"add({a}, {b}) = {a + b}")
    return a + b


result = add(mult(one(), two()), three())
