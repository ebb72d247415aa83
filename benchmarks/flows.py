"""What flows cost, beside what they compare with: `python flows.py [--long]`.

A push chain of 1,000 thread stages beside the pull chain, a stream through three process
stages beside three chained `multiprocessing.Pool.imap`, stages that compute, a value that
goes to 1,000 children; with `--long` a stream of a million items, and its memory.
"""

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from entangle.dataflow import Flow, dataflow, process, thread
from entangle.process import process as pulled
from entangle.task import shutdown

STAGES = 1_000
ITEMS = 10_000
ROUNDS = 15


def inc(number: int) -> int:
    """Do next to nothing."""
    return number + 1


def spin(seconds: float) -> float:
    """Compute for some seconds."""
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass
    return seconds


def size(data: bytes) -> int:
    """Look at a big value."""
    return len(data)


def timed(function: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def compared(
    title: str, ours: Callable[[], object], other: Callable[[], object]
) -> None:
    """Measure two in turns; print medians, and the median of the ratios in a round."""
    pairs = [(timed(ours), timed(other)) for _ in range(ROUNDS)]
    mine, theirs = (
        statistics.median(times) * 1e3 for times in zip(*pairs, strict=True)
    )
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"{title}: {mine:.1f} ms, the other {theirs:.1f} ms ({ratio:.2f} x)")


def chain() -> None:
    """Push and pull through a chain of thread stages, built beforehand."""
    pull = thread(inc)
    push = dataflow(pull)
    node, flow = pull(0), push()
    for _ in range(STAGES - 1):
        node, flow = pull(node), push(flow)
    flow(0)
    compared(f"push through {STAGES:,} thread stages", lambda: flow(0), node)


def three(task: Any) -> Flow:
    """Build a flow of three stages."""
    flow: Flow = task(task(task()))
    return flow


def imap(pools: Any) -> None:
    """Send items through a pool for each stage."""
    numbers: Any = range(ITEMS)
    for pool in pools:
        numbers = pool.imap(inc, numbers)
    if sum(numbers) != ITEMS * (ITEMS + 5) // 2:
        raise ArithmeticError("wrong result")


def stream() -> None:
    """Send items through three process stages, warm on both sides."""
    flow = three(dataflow(process(inc)))

    def ours() -> None:
        if sum(value for (value,) in flow.stream(range(ITEMS))) != (
            ITEMS * (ITEMS + 5) // 2
        ):
            raise ArithmeticError("wrong result")

    ours()
    fork = multiprocessing.get_context("fork")
    for count in (1, 2):
        pools = [fork.Pool(count) for _ in range(3)]
        imap(pools)
        title = f"{ITEMS:,} items through 3 process stages, pools of {count}"
        compared(title, ours, lambda pools=pools: imap(pools))  # type: ignore[misc]
        for pool in pools:
            pool.close()
            pool.join()


def computing() -> None:
    """Keep all processors busy with a chain of three stages that compute."""
    flow = three(dataflow(process(spin)))
    took = timed(lambda: list(flow.stream([0.02] * 40)))
    ideal = 40 * 3 * 0.02 / len(os.sched_getaffinity(0))
    print(f"stages that compute: {took / ideal:.2f} x the ideal")


def fanout() -> None:
    """Give a value of 1 MB to a thousand children."""
    data = b"x" * (1 << 20)
    children = [dataflow(process(size))() for _ in range(1_000)]
    flow = dataflow(lambda value: value)(*children)
    small = timed(lambda: flow(b"x"))
    big = timed(lambda: flow(data))
    print(
        f"a value to 1,000 processes' calls: {small * 1e3:.0f} ms; 1 MB {big * 1e3:.0f}"
    )


def memory(field: str) -> int:
    """Return a field of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) // 1024
    raise LookupError(field)


def long(count: int = 1_000_000) -> None:
    """Print the memory in the course of a long stream."""
    flow = three(dataflow(process(inc)))
    started = time.perf_counter()
    for number, _ in enumerate(flow.stream(iter(range(count))), 1):
        if number % (count // 10) == 0:
            print(f"after {number:,} items: {memory('VmRSS:')} MB")
    print(f"{count / (time.perf_counter() - started):,.0f} items a second")


def main() -> None:
    """Measure everything."""
    pulled(inc)(1)()
    if "--long" in sys.argv:
        long()
    else:
        chain()
        stream()
        computing()
        fanout()
    shutdown()


if __name__ == "__main__":
    main()
