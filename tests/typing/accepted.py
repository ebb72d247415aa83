"""Programs that type checkers accept, with the types that they see.

The comment after a ``reveal_type`` is what both checkers have to say.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, reveal_type

from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import as_completed, gather, shutdown, task
from entangle.thread import thread
from entangle.workflow import workflow

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
K = TypeVar("K")


@process
def one() -> int:
    return 1


@process
def add(a: int, b: int) -> int:
    return a + b


@process(timeout=3, retry=2, retry_on=(OSError, ValueError), env={"A": "1"})
@local(cpus=2)
@scheduler(cpus=2)
@task
def name(number: int, /, prefix: str = "", *, upper: bool = False) -> str:
    return prefix + str(number).upper() if upper else ""


@thread
async def fetch(url: str) -> bytes:
    return url.encode()


@thread(timeout=3, limit=2)
@local
async def fetch_all(*urls: str) -> dict[str, bytes]:
    return dict.fromkeys(urls, b"")


# Edges are not checked, so a workflow may say what it returns or what that is worth.
@workflow
def total(numbers: list[int]) -> int:
    return add(one(), len(numbers))


@workflow(retry=1)
def later(number: int) -> Any:
    return add(number, 1)


@process
def same(value: T) -> T:
    return value


@process
def first(pair: tuple[T, K]) -> T:
    return pair[0]


@task(executor=ThreadPoolExecutor())
def anything(value: object) -> Any:
    return value


@process
@process
def twice(number: float) -> float:
    return number


class Model:
    size: int

    def __init__(self, size: int = 0) -> None:
        self.size = size

    @process
    def fit(self, data: list[float], rate: float = 0.1) -> Model:
        return self

    @thread
    async def score(self, data: list[float]) -> float:
        return 0.0

    @workflow
    def search(self, rates: list[float]) -> list[float]:
        return gather(*[self.score([rate]) for rate in rates])

    @process
    def pick(self, value: T) -> T:
        return value

    @staticmethod
    @process
    def load(path: str) -> bytes:
        return path.encode()

    @classmethod
    @process
    def make(cls, size: int) -> int:
        return size


# Calls.
reveal_type(add(1, 2)())  # int
reveal_type(add(one(), 2)())  # int
reveal_type(add(one(), b=one()).run(workers=2, timeout=3))  # int
reveal_type(name(1, "x")())  # str
reveal_type(name(one(), upper=True)())  # str
reveal_type(twice(add(1, 2))())  # float
reveal_type(add(1, 2))  # Node[int]
reveal_type(anything(3)())  # Any

# What a call gives, unwrapped.
reveal_type(fetch("a")())  # bytes
reveal_type(fetch_all("a", "b")())  # dict[str, bytes]
reveal_type(total([1, 2])())  # int
reveal_type(later(1)())  # Any

# Generics.
reveal_type(same("x")())  # str
reveal_type(same([1])())  # list[int]
reveal_type(first((1, "x"))())  # int

# Mapping.
reveal_type(name.map([1, 2], prefix="a")())  # list[str]
reveal_type(add.map([1], [2])())  # list[int]
reveal_type(add.map(range(3), b=2)())  # list[int]
reveal_type(add.map(one(), [2])())  # list[int]
reveal_type(fetch.map(["a"])())  # list[bytes]
reveal_type(fetch_all.map(["a"], ["b"])())  # list[dict[str, bytes]]
reveal_type(total.map([[1]])())  # list[int]
reveal_type(add.map([1], [2], return_exceptions=True)())  # list[int | BaseException]
reveal_type(add.starmap([(1, 2)])())  # list[int]
reveal_type(one.starmap([()], return_exceptions=True)())  # list[int | BaseException]

# Many nodes as one.
reveal_type(gather(one(), add(1, 2))())  # list[int]
reveal_type(gather(one(), name(1))())  # list[int | str]
reveal_type(gather(one(), name(1), twice(1))())  # list[int | str | float]
reveal_type(gather(*[one(), one()])())  # list[int]
reveal_type(gather(one(), one(), return_exceptions=True)())  # list[int | BaseException]
reveal_type(gather(one(), one().submit())())  # list[Any]

# Parts, order, futures.
reveal_type(same([1]).unpack(2))  # tuple[Node[Any], ...]
reveal_type(same([1])[0])  # Node[Any]
reveal_type(same({"a": 1})("a"))  # Node[Any]
reveal_type(one().after(same("x"), one().submit())())  # int
reveal_type(one().submit())  # RunFuture[int]
reveal_type(one().submit(timeout=3).result())  # int
for node, future in as_completed([one()], timeout=3):
    reveal_type(node)  # Node[int]
    reveal_type(future)  # RunFuture[int]
reveal_type(shutdown())  # None

# Methods.
model = Model()
reveal_type(model.fit([1.0])())  # Model
reveal_type(model.fit([1.0], rate=0.5)().size)  # int
reveal_type(Model.fit(model, [1.0])())  # Model
reveal_type(model.fit.map([[1.0]])())  # list[Model]
reveal_type(model.score([1.0])())  # float
reveal_type(model.search([0.1])())  # list[float]
reveal_type(model.pick("x")())  # str
reveal_type(Model.load("x")())  # bytes
reveal_type(Model.make(1)())  # int
reveal_type(model.make(1)())  # int

# Other callables.
reveal_type(process(Model)(3)())  # Model
reveal_type(thread(len)([1])())  # int
reveal_type(process(json.dumps)([1], indent=2)())  # str
reveal_type(process(timeout=3)(add)(1, 2)())  # int

# Where a plain function is wanted.
function: Callable[[int, int], int] = add
calls: list[Callable[[list[int]], int]] = [total]


async def main() -> None:
    reveal_type(await add(1, 2))  # int
    await asyncio.gather(fetch("a"), add(1, 2))
