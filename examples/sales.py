"""The sales of some regions, read at once, compared in one line.

`entangle graph examples/sales.py` draws it, `entangle run examples/sales.py:report
year=2023` shows what a failure looks like: there was no region in the west then.
"""

from collections.abc import Callable

from entangle.process import process
from entangle.thread import thread

SALES = {
    ("north", 2023): [120, 80, 95],
    ("north", 2024): [130, 85, 110],
    ("south", 2023): [60, 75, 90],
    ("south", 2024): [66, 70, 98],
    ("west", 2024): [12, 40, 77],
}
REGIONS = ["north", "south", "west"]


@thread
def load(region: str, year: int) -> list[int]:
    return SALES.get((region, year), [])


@process(retry=1)
def mean(amounts: list[int]) -> float:
    print(f"{len(amounts)} months")
    return sum(amounts) / len(amounts)


@process
def compare(*means: float, title: str) -> str:
    best = max(zip(means, REGIONS, strict=True))
    return f"{title}: {best[1]} sells most, {best[0]:.0f} a month"


def report(year: int = 2024) -> Callable[[], str]:
    means = [mean(load(region, year)) for region in REGIONS]
    return compare(*means, title=f"Sales of {year}")


result = report()

if __name__ == "__main__":
    print(result())
