"""Measure calls in containers beside what they are made of, in interleaved rounds.

    python benchmarks/containers.py IMAGE [ROUNDS]

The image needs this Python's minor version and numpy. What is compared: a call into a
local process, `docker run` of a Python that does nothing, `docker exec` into a container.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from entangle.docker import docker
from entangle.process import process
from entangle.task import gather, shutdown

ARRAY = 80_000_000
CALLS = 300
FAN_OUT = 1000


def nothing(value: int) -> int:
    """Do nothing."""
    return value


def size(data: Any) -> int:
    """Take an array."""
    return int(data.nbytes)


def made(count: int) -> Any:
    """Make an array."""
    import numpy as np

    return np.ones(count, np.uint8)


def timed(body: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    begun = time.perf_counter()
    body()
    return time.perf_counter() - begun


class Rows:
    """Samples by the name of what was measured."""

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """Keep a sample."""
        self.samples.setdefault(name, []).append(value)

    def of(self, name: str) -> float:
        """Return the median of the samples."""
        return median(self.samples[name])


def measure(image: str, rounds: int) -> Rows:
    """Take every sample once in each round."""
    rows = Rows()
    here = process(nothing)
    there = process(docker(image=image)(nothing))
    two = docker(image=image, containers=2, calls=1)(nothing)
    send, receive = docker(image=image)(size), docker(image=image)(made)
    data = made(ARRAY)
    run = ["docker", "run", "--rm", image, "python3", "-c", "pass"]
    for _ in range(rounds):
        shutdown()
        rows.add("docker run", timed(lambda: subprocess.check_call(run)))  # noqa: S603
        rows.add("first call", timed(there(1)))
        here(1)()
        for _ in range(CALLS):
            # One after the other, so that whatever else happens hits both.
            rows.add("local call", timed(here(1)))
            rows.add("warm call", timed(there(1)))
        gather(*(two(n) for n in range(FAN_OUT)))()
        took = timed(gather(*(two(n) for n in range(FAN_OUT))))
        rows.add("calls a second", FAN_OUT / took)
        send(data)()
        rows.add("MB/s there", ARRAY / 1e6 / timed(send(data)))
        receive(ARRAY)()
        rows.add("MB/s back", ARRAY / 1e6 / timed(receive(ARRAY)))
    return rows


def main() -> None:
    """Print the medians, and what they are compared with."""
    image, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    try:
        rows = measure(image, rounds)
    finally:
        shutdown()
    warm, local = rows.of("warm call"), rows.of("local call")
    first, run = rows.of("first call"), rows.of("docker run")
    print(f"warm call       {warm * 1e6:8.0f} µs, {warm / local:.2f} x local")
    print(f"local call      {local * 1e6:8.0f} µs")
    print(f"first call      {first * 1e3:8.0f} ms, {first / run:.2f} x docker run")
    print(f"docker run      {run * 1e3:8.0f} ms")
    print(f"two containers  {rows.of('calls a second'):8.0f} calls/s")
    print(f"80 MB there     {rows.of('MB/s there'):8.0f} MB/s")
    print(f"80 MB back      {rows.of('MB/s back'):8.0f} MB/s")


if __name__ == "__main__":
    main()
