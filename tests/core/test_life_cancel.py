"""Cancelling: futures, awaiters, loops left early, deadlines; and what they say."""

import asyncio
import concurrent.futures
import os
import signal
import threading
import time

import pytest
from life_kit import SOON, alive, gone, read_pid, until, within

from entangle.errors import ProcessTimeoutException
from entangle.process import process
from entangle.task import as_completed, gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


@process
def double(number):
    return 2 * number


@process
def stay(path):
    path.write_text(str(os.getpid()))
    while True:
        signal.pause()


@process
def stubborn(path):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    stay.fn(path)


@pytest.mark.parametrize("task", [stay, stubborn])
def test_cancelling_ends_a_process(task, tmp_path):
    future = task(tmp_path / "pid").submit()
    pid = read_pid(tmp_path / "pid")
    assert future.running()
    assert future.cancelled_how() is None
    with within():
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(5)
    # Waiters are woken when it is gone, not before.
    assert not alive(pid)
    assert future.cancelled()
    assert future.cancelled_how() == "killed"
    assert double(1)() == 2


def test_cancelling_abandons_a_thread():
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    @thread
    def stuck():
        begun.set()
        go.wait(20)
        ended.set()

    future = stuck().submit()
    assert begun.wait(5)
    with within():
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(5)
    assert future.cancelled_how() == "abandoned"
    assert not ended.is_set()
    go.set()
    assert ended.wait(5)
    assert double(1)() == 2


def test_cancelling_abandons_a_workflow():
    begun, go = threading.Event(), threading.Event()

    @workflow
    def stuck():
        begun.set()
        go.wait(20)
        return double(1)

    future = stuck().submit()
    assert begun.wait(5)
    with within():
        future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(5)
    assert future.cancelled_how() == "abandoned"
    go.set()


def test_cancelling_ends_a_coroutine():
    begun, ended = threading.Event(), threading.Event()

    @thread
    async def stuck():
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    future = stuck().submit()
    assert begun.wait(5)
    with within():
        future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(5)
    assert ended.wait(5)
    assert future.cancelled_how() == "killed"


def test_cancelling_what_is_queued(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @process
    def hold(path):
        return path.read_text()

    held = [hold(gate).submit() for _ in range((os.cpu_count() or 1) + 2)]
    queued = double(1).submit()
    with within():
        queued.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            queued.result(5)
    assert queued.cancelled_how() == "already done"
    for future in held:
        future.cancel()
    for future in held:
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(5)
    assert double(1)() == 2


def test_cancelling_between_attempts_finds_nothing_running():
    failed = threading.Event()

    @thread(retry=5, sleep=600)
    def fail():
        failed.set()
        raise ValueError

    future = fail().submit()
    assert failed.wait(5)
    time.sleep(0.05)
    with within():
        future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(5)
    assert future.cancelled_how() == "already done"


def test_the_worst_of_several_calls_is_told(tmp_path):
    begun, go = threading.Event(), threading.Event()

    @thread
    def stuck():
        begun.set()
        go.wait(20)

    future = gather(stay(tmp_path / "pid"), stuck()).submit()
    pid = read_pid(tmp_path / "pid")
    assert begun.wait(5)
    future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)
    assert future.cancelled_how() == "abandoned"
    assert gone(pid)
    go.set()


def test_cancelling_a_finished_run_changes_nothing():
    future = double(4).submit()
    assert future.result(10) == 8
    assert not future.cancel()
    assert future.result() == 8
    assert not future.cancelled()


def test_cancelling_twice_and_from_callbacks(tmp_path):
    called = []
    future = stay(tmp_path / "pid").submit()
    future.add_done_callback(lambda done: called.append(done.cancelled()))
    read_pid(tmp_path / "pid")
    future.cancel()
    future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)
    until(lambda: called)
    assert called == [True]
    assert future.cancel()


def test_cancelling_at_any_moment():
    """At whatever point a run is, it ends, and the next ones are right."""
    for moment in range(60):
        future = gather(*map(double, range(moment * 5))).submit()
        time.sleep(moment % 10 / 2000)
        future.cancel()
        try:
            assert future.result(10) == [2 * n for n in range(moment * 5)]
        except concurrent.futures.CancelledError:
            assert future.cancelled()
    assert gather(*map(double, range(100)))() == [*range(0, 200, 2)]


def test_waiters_of_a_cancelled_run_are_all_woken(tmp_path):
    future = stay(tmp_path / "pid").submit()
    woken = []

    def wait():
        try:
            future.result(20)
        except concurrent.futures.CancelledError:
            woken.append(1)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for each in threads:
        each.start()
    read_pid(tmp_path / "pid")
    with within():
        future.cancel()
        for each in threads:
            each.join(10)
    assert len(woken) == 4


# -- awaiting


def test_a_cancelled_awaiter_cancels_its_run(tmp_path):
    async def main():
        waiting = asyncio.ensure_future(_await(stay(tmp_path / "pid")))
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.005)
        pid = read_pid(tmp_path / "pid")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return pid

    with within(2 * SOON):
        pid = asyncio.run(main())
    assert gone(pid)
    assert double(1)() == 2


def test_a_timeout_of_asyncio_cancels_the_run(tmp_path):
    async def main():
        async with asyncio.timeout(0.7):
            await stay(tmp_path / "pid")

    with within(2 * SOON), pytest.raises(TimeoutError):
        asyncio.run(main())
    if (tmp_path / "pid").exists():
        assert gone(read_pid(tmp_path / "pid"))


async def _await(node):
    return await node


# -- loops


def test_a_loop_left_early_cancels_the_rest(tmp_path):
    nodes = [double(1), stay(tmp_path / "pid")]
    for _, future in as_completed(nodes):
        assert future.result() == 2
        pid = read_pid(tmp_path / "pid")
        break
    assert gone(pid)


def test_a_loop_over_endless_nodes():
    def endless():
        number = 0
        while True:
            yield double(number)
            number += 1

    found = []
    with within(3 * SOON):
        for _, future in as_completed(endless(), ahead=4):
            found.append(future.result())
            if len(found) == 50:
                break
    assert len({*found}) == 50


def test_a_loop_with_a_timeout(tmp_path):
    seen = []
    assert double(1)() == 2
    with within(3 * SOON), pytest.raises(TimeoutError):
        for node, _ in as_completed([double(1), stay(tmp_path / "pid")], timeout=1.5):
            seen.append(node)
    assert len(seen) == 1
    if (tmp_path / "pid").exists():
        assert gone(read_pid(tmp_path / "pid"))


def test_a_loop_delivers_errors_in_place():
    @process
    def fail(number):
        if number % 2:
            raise ValueError(number)
        return number

    with within(2 * SOON):
        outcomes = {
            (future.exception() or future.result())
            for _, future in as_completed(map(fail, range(10)))
            if not future.exception()
        }
    assert outcomes == {0, 2, 4, 6, 8}


def test_a_generator_that_raises_ends_the_loop(tmp_path):
    def nodes():
        yield stay(tmp_path / "pid")
        read_pid(tmp_path / "pid")
        raise ZeroDivisionError

    with within(2 * SOON), pytest.raises(ZeroDivisionError):
        for _ in as_completed(nodes(), ahead=1000):
            pass
    if (tmp_path / "pid").exists():
        assert gone(read_pid(tmp_path / "pid"))


# -- deadlines


def test_a_timeout_of_a_call(tmp_path):
    @process(timeout=0.4)
    def slow(path):
        stay.fn(path)

    with within(), pytest.raises(ProcessTimeoutException) as caught:
        slow(tmp_path / "pid")()
    assert (caught.value.phase, caught.value.seconds) == ("body", 0.4)
    assert not alive(read_pid(tmp_path / "pid"))


def test_a_timeout_counts_from_the_start_of_the_body(tmp_path):
    """A call that waits for a processor is not timed out."""

    @process(timeout=0.5)
    def brief(number):
        time.sleep(0.15)
        return number

    count = 4 * (os.cpu_count() or 1)
    with within(4 * SOON):
        assert brief.map(range(count))() == [*range(count)]


def test_a_timeout_of_a_coroutine():
    ended = threading.Event()

    @thread(timeout=0.2)
    async def slow():
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    with within(), pytest.raises(ProcessTimeoutException):
        slow()()
    assert ended.wait(5)


def test_a_timeout_of_the_run(tmp_path):
    with within(), pytest.raises(ProcessTimeoutException) as caught:
        stay(tmp_path / "pid").run(timeout=0.4)
    assert caught.value.phase == "run"
    if (tmp_path / "pid").exists():
        assert gone(read_pid(tmp_path / "pid"))


def test_a_timeout_of_a_run_that_is_fast_enough():
    assert double(2).run(timeout=20) == 4


def test_a_run_with_one_worker(tmp_path):
    @process
    def count(folder, number):
        mine = folder / str(number)
        mine.touch()
        time.sleep(0.005)
        seen = len([*folder.iterdir()])
        mine.unlink()
        return seen

    nodes = [count(tmp_path, number) for number in range(12)]
    assert gather(*nodes).run(workers=1) == [1] * 12


def test_a_first_failure_ends_the_others(tmp_path):
    @process
    def fail(path):
        read_pid(path)
        raise ZeroDivisionError

    with within(2 * SOON), pytest.raises(ZeroDivisionError):
        gather(stay(tmp_path / "pid"), fail(tmp_path / "pid"))()
    assert not alive(read_pid(tmp_path / "pid"))
    assert double(1)() == 2


def test_a_failure_does_not_wait_for_a_thread():
    go = threading.Event()

    @thread
    def stuck():
        go.wait(20)

    @thread
    def fail():
        raise ZeroDivisionError

    with within(), pytest.raises(ZeroDivisionError):
        gather(stuck(), fail())()
    go.set()


def test_a_call_that_is_slower_than_those_before():
    """Its answer is waited for in its socket, and all else is noticed in time."""

    @process
    def act(slow):
        if slow:
            print("begun", flush=True)
            time.sleep(30)

    for _ in range(50):
        act(False)()
    future = act(True).submit()
    time.sleep(0.1)
    started = time.monotonic()
    future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(10)
    assert time.monotonic() - started < 2
    other = thread(time.monotonic)
    for _ in range(20):
        assert other()() <= time.monotonic()
    assert act(False)() is None
