"""Programs that type checkers accept, with the types that they see.

The comment after a ``reveal_type`` is what both checkers have to say.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, reveal_type

from entangle.backend import Call, Executor, context, infrastructure
from entangle.dataflow import dataflow
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
@task(cache=True, version=2, cache_ignore=["a"], cache_key=len)
@local(cpus=2)
@scheduler(cpus=2)
@task
def name(number: int, /, prefix: str = "", *, upper: bool = False) -> str:
    return prefix + str(number).upper() if upper else ""


@thread
async def fetch(url: str) -> bytes:
    return url.encode()


@thread(timeout=3, limit=2, cache="run")
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


class OnpremExecutor(Executor):
    """Runs calls on a host."""

    def __init__(self, *, host: str = "", port: int | None = None, who: str) -> None:
        super().__init__()

    def start(self, call: Call) -> None:
        call.succeeded(call.invoke())

    def cancel(self, call: Call, grace: float) -> None:
        call.cancelled("cannot kill")


class NeedyExecutor(OnpremExecutor):
    """Runs calls in a region."""

    def __init__(self, *, region: str, zones: list[str] | None = None) -> None:
        super().__init__(host=region, who="")


def _who(*, name: str = "nobody") -> str:
    """Say who: name."""
    return name


def service(event: dict[str, int], /, *, dry: bool = False) -> list[str]:
    """What calls of the work look like."""
    return [*event]


who = context(_who, name="who")
onprem = infrastructure(OnpremExecutor, partners=[who])
needy = infrastructure(NeedyExecutor, excludes=["who"], secrets=["region"])
proxied = infrastructure(NeedyExecutor, name="proxied", calls_like=service)


@onprem
def far(a: int, b: str = "") -> float:
    return a + len(b)


@who(name="me")
@process(retry=2)
@onprem(host="x", port=3, who="ignored")
def farther(a: int, *, b: str = "") -> float:
    return a + len(b)


@needy(region="eu", zones=["a"])
async def farthest(a: int) -> bytes:
    return bytes(a)


@who
@onprem(host="x", who="")
@task(limit=2)
def same_far(value: T) -> T:
    return value


# The work is there already: what the function takes does not matter.
@proxied(region="eu")
def work() -> None: ...


@task(executor=onprem(host="x", who=""))
def by_executor(a: int) -> int:
    return a


@task(executor=needy)
def by_bare_executor(a: int) -> int:
    return a


@task(executor="onprem")
def by_name(a: int) -> int:
    return a


class Yard:
    @onprem(host="x", who="")
    def store(self, item: str) -> int:
        return len(item)

    @who
    @staticmethod
    @onprem
    def empty(size: int) -> bool:
        return size > 0


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

# Places of somebody else's.
reveal_type(far(1)())  # float
reveal_type(far(1, b="x"))  # Node[float]
reveal_type(far.map([1], ["x"])())  # list[float]
reveal_type(farther(add(1, 2), b="x")())  # float
reveal_type(farthest(1)())  # bytes
reveal_type(same_far("x")())  # str
reveal_type(same_far([1])())  # list[int]
reveal_type(work({"a": 1}, dry=True)())  # list[str]
reveal_type(work.map([{"a": 1}])())  # list[list[str]]
reveal_type(proxied(work)({"a": 1})())  # list[str]
reveal_type(by_executor(1)())  # int
reveal_type(by_bare_executor(1)())  # int
reveal_type(by_name(1)())  # int
reveal_type(onprem(host="x", who="")(add)(1, 2)())  # int
reveal_type(who(add)(1, 2)())  # int
reveal_type(who(name="x")(name)(1, "x")())  # str
reveal_type(Yard().store("x")())  # int
reveal_type(Yard.empty(1)())  # bool
reveal_type(add(1, 2).plan())  # Plan

# Where a plain function is wanted.
function: Callable[[int, int], int] = add
calls: list[Callable[[list[int]], int]] = [total]


async def main() -> None:
    reveal_type(await add(1, 2))  # int
    await asyncio.gather(fetch("a"), add(1, 2))


# ------------------------------------------------------------------------------ dataflow


def told(function: Callable[..., Any], value: object) -> None: ...


@dataflow(callback=told)
@process(timeout=3)
def parse(text: str) -> int:
    return int(text)


@thread
@local
@dataflow
def shout(number: int, *, times: int = 1) -> str:
    return "!" * number * times


@process(retry=1)
@dataflow(executor="process", maxworkers=2)
async def load(url: str) -> bytes:
    return url.encode()


class Filter:
    @dataflow
    def keep(self, value: int) -> int:
        return value


pushed = dataflow(add)
flow = parse(shout(times=2), shout(), lambda number: shout() if number > 3 else None)
reveal_type(parse.fn("1"))  # Any
reveal_type(parse())  # Flow
reveal_type(shout(load(parse()), times=3))  # Flow
reveal_type(load(lambda data: [shout()] if data.isdigit() else []))  # Flow
reveal_type(pushed(Filter().keep(), b=2))  # Flow
reveal_type(flow("1"))  # tuple[Any, ...]
reveal_type(flow.submit("1"))  # RunFuture[tuple[Any, ...]]
reveal_type(flow.same_structure(flow))  # bool
reveal_type(flow.to_mermaid())  # str
for leaves in flow.stream(["1", "2"], buffer=3, ordered=False, errors="raise"):
    reveal_type(leaves)  # Any


async def streamed() -> None:
    reveal_type(await flow.run_async("1"))  # tuple[Any, ...]
    async for results in flow.stream(["1"]):
        reveal_type(results)  # Any
