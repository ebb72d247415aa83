"""One graph over processes, threads and an event loop.

Computing belongs into processes; waiting into threads, or into `async def` tasks, which
all share one event loop. `@local(cpus=n)` reserves at most that many CPUs for a call.
Each decorator adds to what the task is: their order doesn't matter.
"""

import asyncio
import os

from entangle.local import local
from entangle.process import process
from entangle.thread import thread

NOTES: list[str] = []


@thread
def note(text: str) -> str:
    """Keep a note: threads share the caller's objects, processes would have a copy."""
    NOTES.append(text)
    return f"noted {len(NOTES)}"


@thread
async def fetch(seconds: float) -> float:
    """Wait as for a network: ten thousand of these wait at once on one thread."""
    await asyncio.sleep(seconds)
    return seconds


@process
@local(cpus=1)
def crunch(limit: int) -> tuple[int, int]:
    """Compute in another process, on a CPU reserved for this call."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return sum(n * n for n in range(limit)), cpus


@process
def combine(noted: str, waits: list[float], crunched: tuple[int, int]) -> str:
    """Put the results of all places together."""
    squares, cpus = crunched
    return f"{noted}; {len(waits)} waits; squares {squares} on {cpus} CPU"


result = combine(note("hello"), [fetch(0.05), fetch(0.1)], crunch(100_000))

if __name__ == "__main__":
    print(result())
    print(f"the caller's notes: {NOTES}")
