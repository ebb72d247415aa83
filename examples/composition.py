"""Workflows made of workflows, and handed around like any function.

A workflow's body runs in the calling process and returns a graph. `net` and `gross`
know nothing of each other: which one `quote` asks for a price is decided at the call.
"""

from collections.abc import Callable

from entangle.process import process
from entangle.workflow import workflow

STOCK = {"lamp": 40, "desk": 250, "chair": 95}


@process
def price(item: str) -> int:
    return STOCK[item]


@process
def total(*amounts: int) -> int:
    return sum(amounts)


@process
def percent(amount: int, rate: int) -> int:
    return amount * rate // 100


@workflow
def net(order: list[str]) -> int:
    return total(*[price(item) for item in order])


@workflow
def gross(order: list[str]) -> int:
    before = net(order)
    return total(before, percent(before, 20))


@workflow
def quote(pricing: Callable[[list[str]], int], order: list[str], shipping: int) -> int:
    return total(pricing(order), shipping)


if __name__ == "__main__":
    order = ["desk", "chair", "chair"]
    print("net  ", quote(net, order, 30)())
    print("gross", quote(gross, order, 30)())
