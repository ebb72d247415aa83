"""Calls on the far side of streams: two interpreters of this machine, over pipes."""

import sys
import time
from typing import Any

from entangle.backend import CommandStream, Stream, StreamExecutor
from entangle.task import shutdown, task

from . import work
from .ours import Entangle
from .peers import Peer
from .workloads import Workload

BYTES = 80_000_000


class HereExecutor(StreamExecutor):
    """Runs calls in this Python, over pipes."""

    def open(self, command: Any) -> Stream:
        """Start one."""
        return CommandStream([sys.executable, *command[1:]])


def size(data: Any) -> int:
    """Take an array."""
    return int(data.nbytes)


def made(count: int) -> Any:
    """Make an array."""
    import numpy as np

    return np.ones(count, np.uint8)


class Streams(Entangle):
    """Two warm places, each for one call at a time; compared with `@process`."""

    name = "entangle streams"
    needs = "numpy"

    def open(self) -> None:
        """Open both places."""
        self.executor = HereExecutor(places=2, calls=1)
        there = task(executor=self.executor)
        for name in ("noop", "one", "inc", "add", "spin"):
            setattr(self, name, there(getattr(work, name)))
        self.size, self.made = there(size), there(made)
        super().open()

    def close(self) -> None:
        """End them."""
        self.executor.shutdown()
        shutdown()

    def there(self, data: Any) -> int:
        """Send an array."""
        return int(self.size(data)())

    def back(self, count: int) -> int:
        """Have an array sent."""
        return int(self.made(count)().nbytes)


def there(peer: Any, scale: float) -> float:
    """Return the time for a megabyte sent, in ms."""
    count = int(BYTES * scale)
    data = made(count)
    peer.there(data)
    started = time.perf_counter()
    _check(peer.there(data), count)
    return (time.perf_counter() - started) / count * 1e9


def back(peer: Any, scale: float) -> float:
    """Return the time for a megabyte that comes back, in ms."""
    count = int(BYTES * scale)
    peer.back(count)
    started = time.perf_counter()
    _check(peer.back(count), count)
    return (time.perf_counter() - started) / count * 1e9


def _check(got: int, wanted: int) -> None:
    if got != wanted:
        raise AssertionError(f"{got} bytes instead of {wanted}")


PEERS: tuple[type[Peer], ...] = (Streams,)
WORKLOADS = {
    "there": Workload(
        "80 MB sent to a place", "ms/MB", ("process",), "there", there, often=3
    ),
    "back": Workload(
        "80 MB that come back", "ms/MB", ("process",), "back", back, often=3
    ),
}
