"""What the suite has its calls do, and how it looks at them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES: Final[tuple[object, ...]] = (
    None,
    True,
    -(2**70),
    1.5,
    2j,
    "grün\udc80",
    b"\0\xff",
    (),
    [1, [2, {3: (4, {5})}]],
    frozenset({1}),
    range(3),
    {"a": [Ellipsis]},
    int,
)
"""What has to come back as it went, from everywhere."""


def machine() -> str:
    """Name this machine, or the container that takes itself for one."""
    return " ".join(os.uname())


def size(path: str) -> int:
    """Return the size of a file, 0 if there is none."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def still(path: str) -> bool:
    """Tell whether a heartbeat has stopped."""
    before = size(path)
    time.sleep(0.1)  # ten beats long
    return size(path) == before


def _by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function travel by value: the other side may not have this module."""
    from types import FunctionType

    code = function.__code__
    names = {"os": os, "time": time, "__builtins__": __builtins__}
    made = FunctionType(code, names, function.__name__)
    made.__module__ = "__main__"
    made.__qualname__ = f"conformance.<locals>.{function.__name__}"
    return made


@_by_value
def same(given: Any) -> Any:
    """Return what is given."""
    return given


@_by_value
def squared(number: int) -> int:
    """Return the square of a number."""
    return number * number


@_by_value
def heartbeat(beat: str, stop: str, seconds: float) -> str:
    """Write a dot every ten milliseconds until told to stop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(stop):
        with open(beat, "a") as file:
            file.write(".")
        time.sleep(0.01)
    return "over"


@_by_value
def wait_for_file(path: str, seconds: float) -> str:
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.path.exists(path):
            return "there"
        time.sleep(0.005)
    return "not there"


@_by_value
def speak_and_wait(path: str, seconds: float) -> str:
    """Print a line to each stream, then wait until a file is there."""
    import sys

    print("to stdout")
    print("to stderr", file=sys.stderr)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(path):
        time.sleep(0.005)
    print("after that")
    return "over"


@_by_value
def enter_and_wait(entered: str, path: str, seconds: float) -> None:
    """Leave a dot, then wait until a file is there."""
    with open(entered, "a") as file:
        file.write(".")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(path):
        time.sleep(0.005)


@_by_value
def touch(path: str) -> None:
    """Make a file."""
    with open(path, "w"):
        pass


@_by_value
def close_all() -> str:
    """Close standard input, output and error."""
    for descriptor in range(3):
        os.close(descriptor)
    return "close_all"


@_by_value
def read_input() -> str:
    """Read from standard input, which is empty."""
    assert not os.read(0, 100)
    return "read_input"


@_by_value
def fork_and_leave() -> str:
    """Have a child that prints and leaves as it likes."""
    if not os.fork():
        os.write(1, b"child\n")
        os._exit(0)
    os.wait()
    return "fork_and_leave"


@_by_value
def print_binary() -> str:
    """Print what is no text."""
    import sys

    sys.stdout.buffer.write(b"\0\xff\x1b[2J\n")
    return "print_binary"


SPOILERS: Final[dict[str, Callable[[], str]]] = {
    "close_all": close_all,
    "read_input": read_input,
    "fork_and_leave": fork_and_leave,
    "print_binary": print_binary,
}
"""Bodies that do to their standard streams what no body should; each returns its name."""


def graphs(number: int) -> list[Any]:
    """Run graphs: one in a thread of the caller's, others in its processes."""
    from entangle.process import process
    from entangle.thread import thread

    futures = [process(abs)(-each).submit() for each in range(number)]
    return [thread(os.getpid)()(), *[future.result() for future in futures]]


def turned(data: bytes) -> bytes:
    """Have the caller turn bytes around."""
    from entangle.process import process

    return process(_reversed)(data)()


def _reversed(data: bytes) -> bytes:
    return data[::-1]


def begin_and_sleep(path: str) -> None:
    """Say who runs, then stay."""
    with open(path, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
