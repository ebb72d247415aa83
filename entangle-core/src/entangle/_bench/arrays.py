"""Arrays between processes: the peers, and what is measured of them.

A peer makes an array in one process and sums it in another. All are warm: workers
exist, numpy is imported, and each measurement is preceded by one that doesn't count.
"""

import mmap
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

from entangle.data import empty
from entangle.process import process
from entangle.task import gather, shutdown

from .floor import FloorPool, Job
from .peers import CONTEXT, WORKERS, Peer
from .workloads import Workload

LARGE = 100_000_000  # items of four bytes
MIDDLE = 2_000_000
CONSUMERS = 8
KIND = "arrays"


def filled(count: int) -> Any:
    """Make an array."""
    import numpy as np

    return np.full(count, 2, np.float32)


def filled_in_place(count: int) -> Any:
    """Make an array in shared memory."""
    array = empty(count, "float32")
    array.fill(2)
    return array


def total(array: Any) -> float:
    """Sum an array."""
    return float(array.sum())


def scaled(array: Any) -> Any:
    """Make an array of another."""
    return array * 2


class Entangle(Peer):
    """`@process`."""

    name = "entangle arrays"
    kind = KIND
    needs = "numpy"
    filled = staticmethod(process(filled))
    filled_in_place = staticmethod(process(filled_in_place))
    total = staticmethod(process(total))
    scaled = staticmethod(process(scaled))

    def open(self) -> None:
        """Start all workers."""
        gather(*[self.total(self.filled(9)) for _ in range(32)])()

    def close(self) -> None:
        """End the workers."""
        shutdown()

    def hand_over(self, count: int) -> float:
        """Make an array, sum it elsewhere."""
        return self.total(self.filled(count))()

    def in_place(self, count: int) -> float:
        """As `hand_over`, made where it can stay."""
        return self.total(self.filled_in_place(count))()

    def to_many(self, count: int, consumers: int) -> float:
        """Make an array, sum it in several tasks."""
        array = self.filled(count)
        return float(sum(gather(*[self.total(array) for _ in range(consumers)])()))

    def stages(self, count: int, arrays: int) -> float:
        """Pass arrays through two stages."""
        sums = [self.total(self.scaled(self.filled(count))) for _ in range(arrays)]
        return float(sum(gather(*sums)()))


class OneProcess(Peer):
    """Plain calls."""

    name = "one process"
    kind = KIND
    needs = "numpy"

    def hand_over(self, count: int) -> float:
        """Make an array, sum it."""
        return total(filled(count))

    in_place = hand_over

    def to_many(self, count: int, consumers: int) -> float:
        """Make an array, sum it several times."""
        array = filled(count)
        return sum(total(array) for _ in range(consumers))

    def stages(self, count: int, arrays: int) -> float:
        """Pass arrays through two stages."""
        return sum(total(scaled(filled(count))) for _ in range(arrays))


class Futures(Peer):
    """ProcessPoolExecutor: arrays travel through its pipes, by way of the caller."""

    name = "ProcessPoolExecutor arrays"
    kind = KIND
    needs = "numpy"
    executor: ProcessPoolExecutor

    def open(self) -> None:
        """Start all workers."""
        self.executor = ProcessPoolExecutor(WORKERS, mp_context=CONTEXT)
        list(self.executor.map(filled, [9] * 32))

    def close(self) -> None:
        """End the workers."""
        self.executor.shutdown()

    def hand_over(self, count: int) -> float:
        """Make an array, sum it elsewhere."""
        array = self.executor.submit(filled, count).result()
        return self.executor.submit(total, array).result()

    def to_many(self, count: int, consumers: int) -> float:
        """Make an array, sum it in several tasks."""
        array = self.executor.submit(filled, count).result()
        return sum(self.executor.map(total, [array] * consumers))

    def stages(self, count: int, arrays: int) -> float:
        """Pass arrays through two stages, one after the other: by `map`."""
        ahead = 16  # so that not all arrays are here at once
        found = 0.0
        for _ in range(0, arrays, ahead):
            made = self.executor.map(filled, [count] * ahead)
            found += sum(self.executor.map(total, self.executor.map(scaled, made)))
        return found


class ByHand(Peer):
    """Two standing workers and a shared mapping whose pages exist: the floor."""

    name = "floor: an arena by hand"
    kind = KIND
    needs = "numpy"
    pool: FloorPool

    def open(self) -> None:
        """Make the arena, then fork the workers, who have it mapped."""
        _arena[:] = [mmap.mmap(-1, LARGE * 4)]
        for start in range(0, LARGE * 4, 1 << 20):
            _arena[0][start : start + 4096] = bytes(4096)
        self.pool = FloorPool(2)
        for channel in self.pool.channels:
            channel.send((0, _touched, ()))
            channel.receive()

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
        _arena.pop().close()

    def _ask(self, worker: int, function: Callable[..., Any], count: int) -> Any:
        channel = self.pool.channels[worker]
        channel.send((0, function, (count,)))
        return channel.receive()[0][1]

    def hand_over(self, count: int) -> float:
        """Make an array and copy it to the arena, sum it there."""
        return float(self._ask(1, _sum_there, self._ask(0, _put_there, count)))

    def to_many(self, count: int, consumers: int) -> float:
        """Make an array and copy it to the arena, sum it there several times."""
        self._ask(0, _put_there, count)
        found: list[float] = []

        def landed(_: int, value: float) -> Iterable[Job]:
            found.append(value)
            return ()

        self.pool.run([(n, _sum_there, (count,)) for n in range(consumers)], landed)
        return sum(found)


_arena: list[mmap.mmap] = []


def _there(count: int) -> Any:
    import numpy as np

    return np.frombuffer(_arena[0], np.float32, count)


def _touched() -> int:
    _there(LARGE).fill(0)
    return int(_there(LARGE).sum())


def _put_there(count: int) -> int:
    _there(count)[:] = filled(count)
    return count


def _sum_there(count: int) -> float:
    return total(_there(count))


# -- what is measured ------------------------------------------------------------


def _timed(run: Callable[[], float], expected: float, often: int) -> float:
    times: list[float] = []
    for _ in range(often + 1):
        started = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - started)
        if abs(found - expected) > expected * 1e-3:
            raise ArithmeticError(f"wrong result: {found}, not {expected}")
    return median(times[1:]) * 1e3


def hand_over(peer: Any, scale: float) -> float:
    """Return the time from one process to another, in ms for 400 MB."""
    count = round(LARGE * scale)
    return _timed(lambda: peer.hand_over(count), 2 * count, 3) / scale


def in_place(peer: Any, scale: float) -> float:
    """Return the same for an array that was made in shared memory."""
    count = round(LARGE * scale)
    return _timed(lambda: peer.in_place(count), 2 * count, 3) / scale


def to_many(peer: Any, scale: float) -> float:
    """Return the time of one array to eight tasks, in ms for 400 MB."""
    count = round(LARGE * scale)
    expected = 2 * count * CONSUMERS
    return _timed(lambda: peer.to_many(count, CONSUMERS), expected, 2) / scale


def small(peer: Any, scale: float) -> float:
    """Return the time of 8 MB from one process to another, in ms."""
    del scale
    return _timed(lambda: peer.hand_over(MIDDLE), 2 * MIDDLE, 15)


def stages(peer: Any, scale: float) -> float:
    """Return the time of 8 MB through two stages, in ms."""
    arrays = max(32, round(1000 * scale) // 16 * 16)
    expected = 4.0 * MIDDLE * arrays
    return _timed(lambda: peer.stages(MIDDLE, arrays), expected, 1) / arrays


PEERS: tuple[type[Peer], ...] = (Entangle, OneProcess, Futures, ByHand)
WORKLOADS = {
    "array": Workload(
        "400 MB made in one task, summed in another",
        "ms",
        (KIND,),
        "hand_over",
        hand_over,
    ),
    "in place": Workload(
        "the same, made in shared memory", "ms", (KIND,), "in_place", in_place
    ),
    "array to 8": Workload("400 MB to eight tasks", "ms", (KIND,), "to_many", to_many),
    "8 MB": Workload("8 MB to another task", "ms", (KIND,), "hand_over", small),
    "stages": Workload(
        "1,000 arrays of 8 MB through two stages",
        "ms/array",
        (KIND,),
        "stages",
        stages,
    ),
}
