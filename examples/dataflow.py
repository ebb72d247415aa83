"""One reading pushed through a graph: measured once, checked, shown and stored.

Each function gives its value to those inside of it. `alarm` decides at run time whether
a reading is worth a call; `report` gets both summaries, when both are there.
"""

from entangle.dataflow import Flow, dataflow, process, thread


def told(function: object, value: object) -> None:
    print(f"  {getattr(function, '__name__', '')} -> {value}")


@dataflow(callback=told, executor="thread", maxworkers=4)
def read(station: str, *, scale: int = 1) -> list[int]:
    return [ord(letter) % 10 * scale for letter in station]


@dataflow
@process
def highest(values: list[int]) -> int:
    return max(values)


@process
@dataflow
def mean(values: list[int]) -> float:
    return sum(values) / len(values)


@dataflow(callback=told)
@thread
def report(*summaries: float) -> str:
    return ", ".join(f"{each:g}" for each in summaries)


@dataflow
def call(value: int) -> str:
    return f"somebody should look at {value}"


def alarm(value: int) -> Flow | None:
    return call() if value > 15 else None


if __name__ == "__main__":
    both = report()
    flow = read(highest(both, alarm), mean(both), scale=2)
    for station in ("north", "cab"):
        print(station)
        print(" ", flow(station))
