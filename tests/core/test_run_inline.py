"""Everything in the calling thread, for a debugger."""

import asyncio
import threading
import time
import warnings

import pytest

from entangle.errors import ProcessRetryException, UnpicklableError
from entangle.process import process
from entangle.task import as_completed, gather, task
from entangle.thread import thread
from entangle.workflow import workflow


@pytest.fixture(autouse=True)
def _inline(monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")


@process
def where():
    return threading.get_ident()


@thread
def number(value=1):
    return value


@process
def add(a, b):
    return a + b


def test_all_run_here():
    here = threading.get_ident()
    both = [where, thread(where.fn), workflow(where.fn)]
    assert [each()() for each in both] == [here] * 3


@pytest.mark.parametrize("text", ["", "0"])
def test_switched_off(monkeypatch, text):
    monkeypatch.setenv("ENTANGLE_INLINE", text)
    assert thread(where.fn)()() != threading.get_ident()


def test_graphs():
    node = add(number(1), [number(2)][0])
    assert node() == 3
    assert gather(node, add(node, node))() == [3, 6]
    assert add.map(range(5), range(5))() == [0, 2, 4, 6, 8]
    assert number([1, 2])[1]() == 2


def test_arguments_of_processes_are_copied():
    @process
    def change(values):
        values.append(1)
        return values

    @thread
    def change_here(values):
        values.append(1)
        return values

    values = []
    assert change(values)() == [1]
    assert values == []
    assert change_here(values)() is values
    assert values == [1]


def test_what_could_not_be_sent():
    with pytest.raises(UnpicklableError) as caught:
        process(str)(threading.Lock())()
    assert caught.value.node == "str"


def test_expansion():
    @workflow
    def fibonacci(n):
        return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))

    @thread
    def down(n):
        return down(n - 1) if n else "bottom"

    assert fibonacci(10)() == 55
    assert down(5_000)() == "bottom"


def test_failures():
    @process
    def fail():
        raise ValueError("here")

    with pytest.raises(ValueError, match="here") as caught:
        number(fail())()
    names = {entry.name for entry in caught.traceback}
    assert "fail" in names
    values = gather(fail(), number(2), return_exceptions=True)()
    assert (repr(values[0]), values[1]) == ("ValueError('here')", 2)


def test_what_is_not_needed_any_more_is_not_begun():
    begun = []

    @thread
    def fail():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        gather(fail(), thread(begun.append)(1))()
    assert begun == []


def test_further_attempts():
    tries = []

    @process(retry=2, sleep=0.001)
    def work():
        tries.append(time.monotonic())
        raise ValueError(len(tries))

    with pytest.raises(ValueError, match="3") as caught:
        work()()
    assert isinstance(caught.value.__cause__, ProcessRetryException)


def test_coroutines_also_where_a_loop_runs():
    @thread
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x

    doubled = double(process(double.fn)(1))
    assert doubled() == 4

    async def main():
        return await doubled

    assert asyncio.run(main()) == 4


def test_futures_are_done_at_once():
    future = number(3).submit()
    assert future.done()
    assert future.result() == 3
    assert not future.cancel()
    assert number(future)() == 3
    assert isinstance(process(int)("x").submit().exception(), ValueError)


def test_as_completed():
    nodes = [number(n) for n in range(5)]
    assert [f.result() for _, f in as_completed(nodes, timeout=60)] == list(range(5))
    landed = as_completed(number(n) for n in iter(int, 1))
    assert next(landed)[1].result() == 0
    landed.close()


def test_nested_runs():
    @process
    def outer(n):
        return add(outer(n - 1)(), 1)() if n else 0

    assert outer(10)() == 10


def test_limits():
    one = thread(limit=1)(int)
    assert one.map(["1", "2", "3"])() == [1, 2, 3]


def test_options_that_cannot_be_met_are_relaxed_with_a_warning():
    @process(timeout=1, fresh=True, env={"A": "1"})
    def work(n):
        return n

    with pytest.warns(RuntimeWarning) as caught:
        assert work.map(range(3))() == [0, 1, 2]
    (warning,) = caught
    assert "work" in str(warning.message)
    assert "timeout, fresh, env" in str(warning.message)


def test_executors_are_passed_over():
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        named = task(executor=pool)(threading.get_ident)
        with pytest.warns(RuntimeWarning, match="executor"):
            assert named()() == threading.get_ident()


def test_nothing_is_relaxed_without_need():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert process(retry=1, limit=2)(int)("3")() == 3


def test_an_interrupt_ends_the_run():
    @thread
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather(interrupt(), number(1))()
    assert number(1)() == 1


def test_a_timeout_of_the_run():
    @thread
    def work(n):
        return n

    assert work(1).run(timeout=60, workers=1) == 1
