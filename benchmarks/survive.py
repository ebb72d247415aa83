"""How soon a caller hears of what went wrong: `python survive.py [ROUNDS]`.

Each row is the time from the cause, whose moment the task itself writes down, to the
error in the caller's hands; then that of the next call, and of ending the pool. The
peers that outlive such tasks take part: `multiprocessing.Pool` waits for ever.
"""

import ctypes
import os
import signal
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager

from entangle._bench.work import one
from entangle.errors import EntangleError, ProcessTimeoutException
from entangle.process import process
from entangle.task import shutdown

LIMIT = 0.2  # seconds that the task that loops for ever is given


class Picky(Exception):  # noqa: N818 - it is what tasks raise
    """An exception that plain unpickling can't rebuild."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)
        self.second = second


ERRORS = EntangleError, BrokenExecutor, Picky


def now(path: str) -> None:
    """Write the time into a file."""
    with open(path, "r+b", buffering=0) as file:  # noqa: PTH123 - nothing to import
        file.write(struct.pack("d", time.monotonic()))


def leave(path: str) -> None:
    """End the worker as C code does that calls exit."""
    now(path)
    os._exit(3)


def killed(path: str) -> None:
    """End the worker as the kernel does when memory is out."""
    now(path)
    os.kill(os.getpid(), signal.SIGKILL)


def crash(path: str) -> None:
    """End the worker by reading memory that isn't there."""
    now(path)
    ctypes.string_at(0)


def picky(path: str) -> None:
    """Raise what plain unpickling can't rebuild."""
    now(path)
    raise Picky(1, 2)


def endless(path: str) -> None:
    """Loop for ever."""
    now(path)
    while True:
        pass


class Ours:
    """Entangle's processes."""

    name = "entangle"

    def run(self, function: Callable[[str], None], path: str) -> None:
        """Run a task that goes wrong."""
        if function is endless:
            process(timeout=LIMIT)(function)(path)()
        else:
            process(function)(path)()

    def warm(self) -> None:
        """Run a task that doesn't."""
        process(one)(1)()

    def end(self) -> None:
        """End all workers."""
        shutdown()


class Futures:
    """The standard library's executor; it has no timeouts."""

    name = "ProcessPoolExecutor"

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(2)

    def run(self, function: Callable[[str], None], path: str) -> None:
        """Run a task that goes wrong."""
        self._pool.submit(function, path).result()

    def warm(self) -> None:
        """Run a task that doesn't, in a new pool if the old one is broken."""
        try:
            self._pool.submit(one, 1).result()
        except BrokenExecutor:
            self.end()
            self._pool = ProcessPoolExecutor(2)
            self._pool.submit(one, 1).result()

    def end(self) -> None:
        """End all workers."""
        self._pool.shutdown()


CAUSES: dict[str, Callable[[str], None]] = {
    "the worker exits": leave,
    "it is killed": killed,
    "it crashes": crash,
    "its exception does not unpickle": picky,
    "it loops for ever, after the timeout": endless,
}


@contextmanager
def moments() -> Iterator[tuple[str, Callable[[], float]]]:
    """Give the path of a file for a moment, and what reads it."""
    descriptor = os.memfd_create("moment")
    os.truncate(descriptor, 8)
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        yield path, lambda: float(struct.unpack("d", os.pread(descriptor, 8, 0))[0])
    finally:
        os.close(descriptor)


def measure(peer: Ours | Futures, cause: str) -> tuple[float, float]:
    """Return the seconds until the error, and those of the next call."""
    function = CAUSES[cause]
    peer.warm()
    with moments() as (path, moment):
        try:
            peer.run(function, path)
        except ERRORS as error:
            heard = time.monotonic()
            if function is endless and not isinstance(error, ProcessTimeoutException):
                raise
        else:
            raise ArithmeticError(cause)
        told = heard - moment() - (LIMIT if function is endless else 0.0)
    again = time.monotonic()
    peer.warm()
    return told, time.monotonic() - again


def main() -> None:
    """Measure in interleaved rounds, print medians and the worst."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    peers: list[Ours | Futures] = [Ours(), Futures()]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for cause in CAUSES:
            for peer in peers:
                # The standard library's would never end after it.
                if isinstance(peer, Ours) or cause not in list(CAUSES)[-1:]:
                    found.setdefault((cause, peer.name), []).append(
                        measure(peer, cause)
                    )
    for (cause, name), times in found.items():
        told, after = zip(*times, strict=True)
        print(
            f"{cause:38} {name:20} told {statistics.median(told) * 1e3:5.1f} ms"
            f" (worst {max(told) * 1e3:5.1f}), next call "
            f"{statistics.median(after) * 1e3:5.1f} ms"
        )
    for peer in peers:
        began = time.monotonic()
        peer.end()
        print(f"{peer.name} ends in {(time.monotonic() - began) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
