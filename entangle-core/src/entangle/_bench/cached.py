"""What it costs to find a value that is kept on disk, beside joblib.Memory."""

import os
import shutil
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

from entangle.process import process

from .peers import Peer
from .workloads import Workload

_ARRAYS = find_spec("numpy") is not None


def small() -> list[int]:
    """Return a small value."""
    return [1, 2, 3]


def big(count: int) -> Any:
    """Return an array of that many numbers of four bytes."""
    import numpy as np

    return np.ones(count, "f4")


class Keeper(Peer):
    """One way to keep values on disk, in a folder of its own."""

    kind: ClassVar[str] = "cache"
    folder: str

    def open(self) -> None:
        """Keep the small value."""
        self.folder = tempfile.mkdtemp(prefix="entangle-bench-")
        self.start()
        self.small()

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Use the folder."""
        raise NotImplementedError

    def small(self) -> Any:
        """Return the small value."""
        raise NotImplementedError


class EntangleCache(Keeper):
    """`@process(cache=True)`."""

    name = "entangle cache"
    _small = staticmethod(process(cache=True)(small))
    _big = staticmethod(process(cache=True)(big))
    _before: str | None

    def start(self) -> None:
        """Say where."""
        self._before = os.environ.get("ENTANGLE_CACHE_DIR")
        os.environ["ENTANGLE_CACHE_DIR"] = self.folder

    def close(self) -> None:
        """Remove everything, and say nothing any more."""
        super().close()
        del os.environ["ENTANGLE_CACHE_DIR"]
        if self._before is not None:
            os.environ["ENTANGLE_CACHE_DIR"] = self._before

    def small(self) -> Any:
        """Run a graph of one node that is kept."""
        return self._small()()

    if _ARRAYS:

        def big(self, count: int) -> Any:
            """As `small`."""
            return self._big(count)()


class JoblibMemory(Keeper):
    """`joblib.Memory`, with arrays mapped as well."""

    name = "joblib.Memory"
    needs = "joblib"

    def start(self) -> None:
        """Make it."""
        from joblib import Memory

        memory = Memory(self.folder, mmap_mode="c", verbose=0)
        self._small, self._big = memory.cache(small), memory.cache(big)

    def small(self) -> Any:
        """Call the function."""
        return self._small()

    if _ARRAYS:

        def big(self, count: int) -> Any:
            """As `small`."""
            return self._big(count)


def small_hit(peer: Any, scale: float) -> float:
    """Return the median time of finding a small value, in µs."""
    return _median(peer.small, max(5, round(500 * scale))) * 1e6


def big_hit(peer: Any, scale: float) -> float:
    """Return the median time of finding up to 400 MB, unused, in ms."""
    # In a quick measurement 20 MB: of the disk's time alone is there less.
    find = partial(peer.big, round(100_000_000 * scale))
    find()
    return _median(find, max(3, round(20 * scale))) * 1e3


def _median(call: Any, count: int) -> float:
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        value = call()
        times.append(time.perf_counter() - started)
        if len(value) == 0:
            raise ArithmeticError("wrong result")
        del value
    return sorted(times)[count // 2]


KEEPERS: tuple[type[Peer], ...] = (EntangleCache, JoblibMemory)
CACHED = {
    "cache hit": Workload("a kept value found", "µs", ("cache",), "small", small_hit),
    "big cache hit": Workload("400 MB found", "ms", ("cache",), "big", big_hit),
}
