"""What is measured: each workload checks its result and returns a cost per unit."""

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .graphs import Layered, expected, layered
from .peers import WORKERS, Peer

HERE = Path(__file__).parent
Measure = Callable[[Any, float], float]


class Workload(NamedTuple):
    """One column of the comparison.

    Attributes:
        title: what a unit is, and how many there are.
        unit: the unit of the numbers that `measure` returns.
        kinds: the kinds of peers that take part.
        needs: the method that a peer must have.
        measure: runs it at a scale (1 is full) and returns the cost per unit.
        started: whether the peer is opened for it.
        often: how many times it is measured in a round; what differs by little needs
            more of them.
    """

    title: str
    unit: str
    kinds: tuple[str, ...]
    needs: str
    measure: Measure
    started: bool = True
    often: int = 1


def call(peer: Any, scale: float) -> float:
    """Return the median time of single calls, in µs."""
    return _latency(peer, _times(200, scale))


def fanout(peer: Any, scale: float) -> float:
    """Return the time for each of many independent calls, in µs."""
    count = _times(10_000, scale)
    started = time.perf_counter()
    back = peer.fanout(count)
    elapsed = time.perf_counter() - started
    _check(back == count)
    return elapsed / count * 1e6


def chain(peer: Any, scale: float) -> float:
    """Return the time for each hop of a chain, in µs."""
    count = _times(1_000, scale)
    started = time.perf_counter()
    value = peer.chain(count)
    elapsed = time.perf_counter() - started
    _check(value == count)
    return elapsed / count * 1e6


def layers(peer: Any, scale: float) -> float:
    """Return the time for each node of a layered graph, in µs."""
    graph = _graph(scale)
    wanted = expected(graph)
    started = time.perf_counter()
    values = peer.layers(graph)
    elapsed = time.perf_counter() - started
    _check(values == wanted)
    return elapsed / len(graph.parents) * 1e6


def fresh(peer: Any, scale: float) -> float:
    """Return the time for each call in a process of its own, in µs."""
    count = _times(400, scale)
    started = time.perf_counter()
    back = peer.fanout(count)
    elapsed = time.perf_counter() - started
    _check(back == count)
    return elapsed / count * 1e6


def fresh_call(peer: Any, scale: float) -> float:
    """Return the median time of single calls in a process of their own, in µs."""
    # What one call leaves behind is not to be in the way of the next.
    return _latency(peer, _times(50, scale), pause=0.01)


def busy(peer: Any, scale: float) -> float:
    """Return the time for calls of 50 ms, over what their work takes, as a ratio."""
    count = max(2, round(64 * scale))
    started = time.perf_counter()
    peer.busy(count, 0.05)
    return (time.perf_counter() - started) / (count * 0.05 / WORKERS)


def cold(peer: Peer, scale: float) -> float:
    """Return the time from nothing to the value of five calls, less Python's, in ms."""
    del scale
    return (_script(peer.name) - _script("nothing")) * 1e3


def build(peer: Any, scale: float) -> float:
    """Return the time to build each node, without running it, in µs."""
    graph = _graph(scale)
    gc.collect()
    started = time.perf_counter()
    nodes = peer.nodes(graph)
    elapsed = time.perf_counter() - started
    return elapsed / len(nodes) * 1e6


def size(peer: Any, scale: float) -> float:
    """Return the memory that each built node takes, in bytes."""
    graph = _graph(scale)
    peer.nodes(graph)
    gc.collect()
    tracemalloc.start()
    try:
        nodes = peer.nodes(graph)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return taken / len(nodes)


def _latency(peer: Any, count: int, pause: float = 0.0) -> float:
    times: list[float] = []
    for _ in range(count):
        if pause:
            time.sleep(pause)
        started = time.perf_counter()
        peer.call()
        times.append(time.perf_counter() - started)
    times.sort()
    return times[count // 2] * 1e6


def _times(full: int, scale: float) -> int:
    return max(5, round(full * scale))


def _graph(scale: float) -> Layered:
    return layered(10, _times(1_000, scale))


def _script(peer: str) -> float:
    command = [sys.executable, str(HERE / "cold.py"), peer]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    elapsed = time.perf_counter() - started
    _check(done.stdout == "9\n")
    return elapsed


def _check(right: bool) -> None:  # noqa: FBT001 - reads as an assertion
    if not right:
        raise ArithmeticError("wrong result")


POOLED = ("process", "thread")
WORKLOADS = {
    "call": Workload("one warm call", "µs", POOLED, "call", call),
    "fanout": Workload("10,000 no-op calls", "µs/call", POOLED, "fanout", fanout),
    "chain": Workload("a chain of 1,000", "µs/hop", POOLED, "chain", chain),
    "layers": Workload(
        "10 layers of 1,000, 3 parents each", "µs/node", POOLED, "layers", layers
    ),
    "fresh": Workload(
        "a new process for each call", "µs/call", ("fresh",), "fanout", fresh
    ),
    "fresh call": Workload(
        "one call in a new process", "µs", ("fresh",), "call", fresh_call
    ),
    "busy": Workload(
        "64 calls of 50 ms, over ideal", "times", ("process",), "busy", busy, often=3
    ),
    "cold": Workload(
        "five calls in a new interpreter, over bare Python",
        "ms",
        POOLED,
        "cold",
        cold,
        started=False,
        often=3,
    ),
    "build": Workload(
        "building a graph", "µs/node", ("process",), "nodes", build, started=False
    ),
    "size": Workload(
        "memory of a graph", "bytes/node", ("process",), "nodes", size, started=False
    ),
}
