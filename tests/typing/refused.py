"""Mistakes that type checkers find: each line that says so, and no other."""

from __future__ import annotations

from entangle.backend import Call, Executor, context, infrastructure
from entangle.dataflow import dataflow
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import as_completed, gather, task
from entangle.thread import thread
from entangle.workflow import workflow


@process
def add(a: int, b: int) -> int:
    return a + b


@thread(wait=3)
@local
async def fetch(url: str) -> bytes:
    return url.encode()


@workflow
def total(numbers: list[int]) -> int:
    return add(1, len(numbers))


class Model:
    @process
    def fit(self, data: list[float]) -> int:
        return len(data)

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

    def __init__(self, *, host: str, port: int = 22) -> None:
        super().__init__()

    def start(self, call: Call) -> None:
        call.succeeded(call.invoke())

    def cancel(self, call: Call, grace: float) -> None:
        call.cancelled("cannot kill")


def _who(*, name: str = "nobody") -> str:
    """Say who: name."""
    return name


def service(event: dict[str, int], /, *, dry: bool = False) -> list[str]:
    """What calls of the work look like."""
    return [*event]


who = context(_who, name="who")
onprem = infrastructure(OnpremExecutor)
proxied = infrastructure(OnpremExecutor, name="proxied", calls_like=service)


@who(name="me")
@onprem(host="x")
def far(a: int) -> float:
    return a


@proxied(host="x")
def work(a: int) -> float:
    return a


# Calls.
add("x", 2)  # refused
add(1)  # refused
add(1, 2, 3)  # refused
add(1, c=2)  # refused
fetch(3)  # refused
total(["x"])  # refused
process(timeout=3)(add)("x", 2)  # refused
process(Model)(3)  # refused

# Values.
text: str = add(1, 2)()  # refused
number: int = fetch("x")()  # refused
values: list[str] = add.map([1], [2])()  # refused

# Mapping.
add.map(["x"], [2])  # refused
add.map([1], ["x"])  # refused
fetch.map([1])  # refused
add.map()  # refused
add.starmap(3)  # refused

# Methods.
Model().fit(["x"])  # refused
Model().fit()  # refused
Model.fit(3, [1.0])  # refused
Model.load(3)  # refused
Model.make("x")  # refused

# Options.
process(timout=3)  # refused
process(timeout="3")  # refused
process(retry_on=ValueError("x"))  # refused
process(env=["A"])  # refused
process(3)  # refused
thread(fresh=True)  # refused
workflow(nice=3)  # refused
task(executor=3)  # refused
local(cpus="2")  # refused
scheduler(impl=3)  # refused

# Places of somebody else's.
onprem(hots="x")  # refused
onprem(host=3)  # refused
onprem(host="x", port="22")  # refused
onprem(port=22)  # refused
onprem("x")  # refused
who(nam="x")  # refused
who(name=3)  # refused
proxied(host=3)  # refused
far("x")  # refused
far(1, 2)  # refused
onprem(host="x")(add)("x", 2)  # refused
who(add)("x", 2)  # refused
work(1)  # refused
work({"a": "b"})  # refused
work({}, True)  # refused
number = work({})()  # refused
infrastructure(dict)  # refused
infrastructure(OnpremExecutor, partner=[who])  # refused
infrastructure(OnpremExecutor, partners=[_who])  # refused
context(3)  # refused

# Runs.
add(1, 2).run(worker=2)  # refused
add(1, 2).submit(timeout="x")  # refused
gather(1)  # refused
gather([add(1, 2)])  # refused
as_completed([1])  # refused


@dataflow
@process
def parse(text: str) -> int:
    return int(text)


parse(3)  # refused
parse("text")  # refused
parse(lambda number: parse() if number.upper() else None)  # refused
parse()()  # refused
parse().stream(5)  # refused
parse().stream([], errors="ignore")  # refused
dataflow(timeout=3)  # refused
dataflow(maxworkers="many")  # refused
