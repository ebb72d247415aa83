"""Mistakes that type checkers find: each line that says so, and no other."""

from __future__ import annotations

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
task(executor="x")  # refused
local(cpus="2")  # refused
scheduler(impl=3)  # refused

# Runs.
add(1, 2).run(worker=2)  # refused
add(1, 2).submit(timeout="x")  # refused
gather(1)  # refused
gather([add(1, 2)])  # refused
as_completed([1])  # refused
