"""How much memory arrays between processes take at most, and what first use costs.

The sum of the proportional set sizes (PSS) of this process and all that it has started,
looked at every few milliseconds while one graph runs, less what there was before; as a
multiple of the array. PSS counts what processes share once.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from entangle.data import empty
from entangle.process import process
from entangle.task import gather, shutdown


@process
def filled(count: int) -> NDArray[np.float32]:
    """Make an array."""
    return np.full(count, 2, np.float32)


@process
def filled_in_place(count: int) -> NDArray[np.float32]:
    """Make an array in shared memory."""
    array = empty(count, np.float32)
    array.fill(2)
    return array


@process
def total(array: NDArray[np.float32]) -> float:
    """Sum an array."""
    return float(array.sum())


@process
def step(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change an array and pass it on."""
    array[0] += 1
    return array


def family() -> set[int]:
    """Return the process ids of this process and its descendants."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def proportional(pids: set[int]) -> int:
    """Return the sum of the proportional set sizes of processes, in bytes."""
    found = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found += int(text.partition("Pss:")[2].split()[0]) * 1024
    return found


class Peak:
    """Looks at the memory of all processes while a block runs."""

    def __enter__(self) -> Self:
        """Begin to look."""
        self.before = self.most = proportional(family())
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self) -> None:
        """Look until told to stop."""
        pids = family()
        while not self.done.wait(0.002):
            self.most = max(self.most, proportional(pids))

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self.done.set()
        self.thread.join()

    @property
    def grown(self) -> int:
        """How many bytes more there were at most than before."""
        return self.most - self.before


def measured(title: str, make: Callable[[], Any], nbytes: int) -> None:
    """Print how much more memory a graph takes at most, in new processes."""
    shutdown()
    # So that workers exist and numpy is imported.
    gather(*[total(filled(9)) for _ in range(16)])()
    with Peak() as peak:
        started = time.perf_counter()
        make()
        elapsed = time.perf_counter() - started
    print(
        f"{title:44}{peak.grown / nbytes:>6.2f} x the array, {elapsed * 1e3:,.0f} ms"
        " at first use, under observation"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000_000)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    count = arguments.items
    nbytes = 4 * count
    measured("made in one task, summed in another", total(filled(count)), nbytes)
    measured("made in shared memory", total(filled_in_place(count)), nbytes)
    array = filled(count)
    eight = gather(*[total(array) for _ in range(8)])
    measured("to eight tasks", eight, nbytes)
    node = filled(count // 4)
    for _ in range(arguments.steps):
        node = step(node)
    measured(f"through {arguments.steps:,} steps", total(node), nbytes // 4)
    shutdown()
    for title, make in (("first use", filled), ("first use in place", filled_in_place)):
        gather(*[total(filled(9)) for _ in range(16)])()
        started = time.perf_counter()
        total(make(count))()
        print(f"{title:44}{(time.perf_counter() - started) * 1e3:>6,.0f} ms")
        shutdown()


if __name__ == "__main__":
    main()
