"""The mean temperature of some stations, with time to look at how far it is.

`entangle run examples/weather.py` shows its progress on a terminal; afterwards
`entangle show` tells what ran when, and `entangle logs` what was printed.
"""

import time

from entangle.process import process
from entangle.thread import thread

DEGREES = {"coast": 11.5, "valley": 9.0, "summit": -2.5}


@thread
def read(station: str) -> float:
    time.sleep(0.1)
    return DEGREES[station]


@process
def model(*degrees: float) -> float:
    print(f"{len(degrees)} stations")
    time.sleep(1.5)
    return sum(degrees) / len(degrees)


@process
def report(mean: float) -> str:
    return f"{mean:.1f} degrees on average"


result = report(model(*[read(station) for station in DEGREES]))

if __name__ == "__main__":
    print(result())
