"""A fan-out with a tree of sums, and a caller that waits: `python million.py [CALLS]`.

Prints the time for each node, the memory of this process with the graph built and at its
highest, and the processor time that the caller takes while a task sleeps.
"""

import sys
import time
from pathlib import Path

from entangle._bench.work import one
from entangle.process import process

call = process(one)
sleep = process(time.sleep)


@process
def total(*numbers: int) -> int:
    """Add up the values of up to a hundred nodes."""
    return sum(numbers)


def memory(field: str) -> int:
    """Return a field of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) // 1024
    raise LookupError(field)


def main() -> None:
    """Build, run, check, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    call(1)()
    level = [call(number) for number in range(count)]
    while len(level) > 1:
        level = [total(*level[at : at + 100]) for at in range(0, len(level), 100)]
    built = memory("VmRSS:")
    started = time.perf_counter()
    value = level.pop()()
    took = time.perf_counter() - started
    if value != count * (count - 1) // 2:
        raise ArithmeticError("wrong result")
    highest = memory("VmHWM:")
    print(f"{count:,} calls: {took / count * 1e6:.1f} us each")
    print(f"{built} MB with the graph built, {highest} MB at most")
    before = time.process_time()
    sleep(5)()
    print(f"{(time.process_time() - before) * 1e3:.0f} ms while a task sleeps for 5 s")


if __name__ == "__main__":
    main()
