"""Runs within runs, and beside each other: they share the leases, and never lock up."""

import asyncio
import os
import threading
import time

import pytest
from life_kit import SOON, alive, gone, output_of, pool_pids, until, within

from entangle.errors import ProcessTimeoutException
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import as_completed, gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


@process
def double(number):
    return 2 * number


@process
def deep(level):
    return [os.getpid(), *deep(level - 1)()] if level else []


@process
def spread(level, width):
    if not level:
        return 1
    return sum(gather(*[spread(level - 1, width) for _ in range(width)])())


@process
def unfold(level):
    return gather(unfold(level - 1), double(level)) if level else 0


@thread
def deep_thread(level):
    return deep_thread(level - 1)() + 1 if level else 0


@workflow
def deep_workflow(level):
    return deep_workflow(level - 1)() + 1 if level else 0


@process
def mixed(level):
    if not level:
        return 0
    how = (thread, workflow, process)[level % 3]
    return how(mixed.fn)(level - 1)() + 1


def test_a_run_in_a_task_ten_deep():
    with within(10 * SOON):
        pids = deep(10)()
    assert len(pids) == len({*pids}) == 10


def test_ten_deep_on_two_leases():
    out = output_of(
        """
from entangle.process import process
@process
def deep(level):
    return deep(level - 1)() + 1 if level else 0
print(deep(10)())
print(deep(10)())
""",
        ENTANGLE_WORKERS="2",
    )
    assert out == "10\n10\n"


def test_ten_deep_on_one_lease():
    out = output_of(
        """
from entangle.process import process
from entangle.task import gather
@process
def deep(level):
    return sum(gather(deep(level - 1), deep(0))()) + 1 if level else 0
print(deep(6)())
""",
        ENTANGLE_WORKERS="1",
    )
    assert out == "6\n"


def test_a_future_that_is_waited_for_by_other_means():
    """`concurrent.futures.wait` knows nothing of leases, nor of limits of threads."""
    out = output_of(
        """
import concurrent.futures
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread

@process
def inner(x):
    return x + 1

@process
def outer(n):
    futures = [inner(n).submit(), inner(n + 1).submit()]
    concurrent.futures.wait(futures)
    return sum(future.result() for future in futures) + inner(0)()

@thread
def within(n):
    future = thread(abs)(-n).submit()
    concurrent.futures.wait([future])
    return future.result()

if __name__ == "__main__":
    print(gather(outer(1), outer(2))())
    print(sum(gather(*[within(n) for n in range(100)])()))
    print(gather(outer(1), outer(2))())
""",
        ENTANGLE_WORKERS="1",
    )
    assert out == "[6, 8]\n4950\n[6, 8]\n"


def test_many_nested_runs_at_once():
    with within(15 * SOON):
        assert spread(3, 3)() == 27


@process
def here():
    return os.getpid()


@process
def here_and_below():
    return os.getpid(), *gather(*[here() for _ in range(3)])()


def test_what_a_task_waits_for_goes_before_the_next_one():
    """Else each of them would sit in a process, before the first one could end."""
    leases = os.cpu_count() or 1
    found = gather(*[here_and_below() for _ in range(20 * leases)])()
    assert len({pid for pids in found for pid in pids}) < 10 * leases


def test_returned_graphs_hold_no_worker():
    with within(5 * SOON):
        value = unfold(20)()
    for level in range(20, 0, -1):
        value, doubled = value
        assert doubled == 2 * level
    assert value == 0


@pytest.mark.parametrize("deepen", [deep_thread, deep_workflow])
def test_threads_and_workflows_forty_deep(deepen):
    """Deeper than there are threads: one that waits makes room for another."""
    with within(5 * SOON):
        assert deepen(40)() == 40


def test_all_kinds_of_calls_in_each_other():
    with within(10 * SOON):
        assert mixed(9)() == 9


def test_a_nested_error_arrives_as_itself():
    @process
    def fail():
        raise ZeroDivisionError("deep")

    @process
    def outer():
        return fail()()

    @process
    def catch():
        try:
            return fail()()
        except ZeroDivisionError as error:
            return str(error)

    with pytest.raises(ZeroDivisionError, match="deep"):
        outer()()
    assert catch()() == "deep"


def test_a_nested_run_ends_with_its_task(tmp_path):
    @process
    def inner(path):
        path.write_text(str(os.getpid()))
        time.sleep(600)

    @process(timeout=1.5)
    def outer(path):
        return inner(path)()

    with within(3 * SOON), pytest.raises(ProcessTimeoutException):
        outer(tmp_path / "pid")()
    assert gone(int((tmp_path / "pid").read_text()))
    assert double(1)() == 2


def test_a_submitted_nested_run_ends_with_its_task(tmp_path):
    @process
    def inner(path):
        path.write_text(str(os.getpid()))
        time.sleep(600)

    @process
    def outer(path):
        inner(path).submit()
        until(lambda: path.exists() and path.read_text())
        return "left"

    with within(3 * SOON):
        assert outer(tmp_path / "pid")() == "left"
    assert gone(int((tmp_path / "pid").read_text()))
    assert double(1)() == 2


def test_a_killed_task_takes_its_nested_run_along(tmp_path):
    @process
    def inner(path):
        path.write_text(f"{os.getpid()} {os.getppid()}")
        time.sleep(600)

    @process
    def outer(path, own):
        own.write_text(str(os.getpid()))
        return inner(path)()

    future = outer(tmp_path / "inner", tmp_path / "outer").submit()
    inner_pid = int(
        until(
            lambda: (path := tmp_path / "inner").exists() and path.read_text()
        ).split()[0]
    )
    os.kill(int((tmp_path / "outer").read_text()), 9)
    assert future.exception(5) is not None
    assert gone(inner_pid)
    assert double(1)() == 2


# -- leases


@local(cpus=2)
@process
def both(number):
    return number, len(os.sched_getaffinity(0))


def test_calls_that_lease_two_processors_each():
    out = output_of(
        """
from entangle.local import local
from entangle.process import process
from entangle.task import gather
@local(cpus=2)
@process
def both(number): return number
@process
def one(number): return number
@local(cpus=2)
@process
def nesting(number): return both(number)() + one(number)()
nodes = [task(number) for number in range(40) for task in (both, one)]
assert gather(*nodes)() == [number for number in range(40) for _ in range(2)]
assert nesting.map(range(6))() == [2 * number for number in range(6)]
print("fine")
""",
        ENTANGLE_WORKERS="2",
    )
    assert out == "fine\n"


def test_more_processors_than_there_are_is_clamped():
    @local(cpus=10_000)
    @process
    def all_of_them():
        return "ran"

    with within(2 * SOON):
        assert all_of_them()() == "ran"


def test_never_more_calls_at_once_than_leases(tmp_path):
    out = output_of(
        """
import os, sys, time
from pathlib import Path
from entangle.process import process
folder = Path(sys.argv[1])
@process
def count(number):
    mine = folder / str(number)
    mine.touch()
    time.sleep(0.01)
    seen = len([*folder.iterdir()])
    mine.unlink()
    return seen
assert max(count.map(range(40))()) <= 2
print("fine")
""",
        tmp_path,
        ENTANGLE_WORKERS="2",
    )
    assert out == "fine\n"


def test_a_scheduler_shares_its_processors():
    @scheduler(cpus=1)
    @process
    def bound():
        return tuple(os.sched_getaffinity(0))

    with within(3 * SOON):
        places = gather(*[bound() for _ in range(6)])()
    assert len({*places}) == 1
    assert len(places[0]) == 1


# -- side by side


def test_two_threads_run_graphs_at_once():
    results = {}

    def work(name, factor):
        results[name] = [
            gather(*[double(factor * number) for number in range(50)])()
            for _ in range(5)
        ]

    threads = [threading.Thread(target=work, args=(n, n + 1)) for n in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
        assert not each.is_alive()
    for name in range(2):
        assert results[name] == [[2 * (name + 1) * n for n in range(50)]] * 5


def test_eight_threads_with_small_runs():
    errors = []

    def work():
        try:
            for number in range(30):
                assert double(number)() == 2 * number
                assert deep_thread(2)() == 2
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
        assert not each.is_alive()
    assert not errors


def test_two_event_loops_run_graphs_at_once():
    async def work(factor):
        values = await asyncio.gather(*[double(factor * n) for n in range(20)])
        return [*values, await gather(*[double(n) for n in range(20)])]

    results = {}

    def loop(factor):
        results[factor] = asyncio.run(work(factor))

    threads = [threading.Thread(target=loop, args=(n,)) for n in (1, 2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
        assert not each.is_alive()
    for factor in (1, 2):
        assert results[factor] == [
            *[2 * factor * n for n in range(20)],
            [2 * n for n in range(20)],
        ]


def test_a_loop_goes_on_while_a_graph_runs():
    async def main():
        ticks = 0
        waiting = asyncio.ensure_future(_awaited(slow(0.3)))
        while not waiting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert await waiting == 0.3
        return ticks

    assert asyncio.run(main()) > 5


@process
def slow(seconds):
    time.sleep(seconds)
    return seconds


async def _awaited(node):
    return await node


def test_a_run_inside_a_thread_task_inside_a_loop():
    @thread
    async def inner(number):
        await asyncio.sleep(0)
        return number + await double(number)

    @thread
    def outer(number):
        return inner(number)()

    async def main():
        return await gather(*[outer(n) for n in range(10)])

    with within(3 * SOON):
        assert asyncio.run(main()) == [3 * n for n in range(10)]


def test_as_completed_inside_a_task():
    @process
    def collect():
        return sorted(
            future.result() for _, future in as_completed(map(double, range(20)))
        )

    with within(3 * SOON):
        assert collect()() == [*range(0, 40, 2)]


def test_workers_serve_nested_and_plain_runs_alike():
    before = {*pool_pids()}
    for _ in range(3):
        assert len(deep(3)()) == 3
        assert double.map(range(10))() == [*range(0, 20, 2)]
    assert all(alive(pid) for pid in pool_pids())
    assert before or pool_pids()


@process
def pid_above(number):
    double(number)()
    return os.getpid()


@pytest.mark.parametrize("how", ["map", "submit"])
def test_few_sit_in_processes_while_they_wait(how):
    """Of one run or of many: else each would begin before the first could end."""
    if how == "map":
        pids = gather(*map(pid_above, range(80)))()
    else:
        futures = [pid_above(number).submit() for number in range(80)]
        pids = [future.result() for future in futures]
    assert len({*pids}) < 40
