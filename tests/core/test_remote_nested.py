"""Graphs that tasks elsewhere run: the caller makes their runs, which end with them."""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from life_kit import gone, read_pid, until
from remote_kit import HereExecutor, interpreter
from remote_tasks import (
    NearExecutor,
    Unwilling,
    add,
    all_doubled,
    asks_for_error,
    asks_for_function,
    deep,
    deep_alone,
    deep_limited,
    mixed,
    pid_and_below,
    sometimes,
)

from entangle._pool import pool as pools
from entangle._run.observers import Watch
from entangle.backend import Executor
from entangle.dataflow import dataflow
from entangle.errors import (
    BudgetExceededError,
    NestedRunError,
    ProcessTerminatedException,
    ProcessTimeoutException,
    TaskError,
    UnpicklableError,
)
from entangle.process import process
from entangle.run import RunEnded, RunStarted, budget, observe
from entangle.task import as_completed, gather, shutdown, task
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


@pytest.fixture
def here():
    with HereExecutor() as executor:
        yield executor


@pytest.fixture
def ended():
    """Places of decorators outlive their calls."""
    yield
    shutdown()


@process
def double(number):
    return 2 * number


@process
def pid():
    return os.getpid()


@process
def stay(folder):
    Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(600)


@thread
def in_thread():
    return os.getpid(), threading.current_thread() is threading.main_thread()


@workflow
def doubled(numbers):
    return gather(*[double(number) for number in numbers])


def test_every_kind_of_task(here):
    """They run where they would run if the caller had called them."""

    def body():
        return os.getpid(), pid()(), in_thread()(), doubled([1, 2])(), double(7)[0:0]

    def whole():
        far, other, (threads, main), values = body.__wrapped__()
        return far, other, threads, main, values

    body.__wrapped__ = lambda: body()[:4]
    far, other, threads, main, values = task(executor=here)(whole)()()
    assert len({far, other, os.getpid()}) == 3
    assert threads == os.getpid()
    assert not main
    assert values == [2, 4]


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("how", ["map", "submit"])
def test_what_a_task_waits_for_goes_before_the_next_one(how):
    """Else each of them would sit in a process there, before the first could end."""
    if how == "map":
        found = gather(*[pid_and_below() for _ in range(30)])()
    else:
        futures = [pid_and_below().submit() for _ in range(30)]
        found = [future.result() for future in futures]
    assert len({far for far, _ in found}) < 15


def test_every_way_to_run(here):
    def ways():
        async def awaited():
            return await asyncio.gather(double(1), double(2))

        futures = [double(number).submit() for number in range(20)]
        done, _ = concurrent.futures.wait(futures[:3])
        told = []
        futures[0].add_done_callback(lambda future: told.append(future.result()))
        return (
            double(1)(),
            double(2).run(workers=1, timeout=60),
            asyncio.run(awaited()),
            [future.result() for future in futures],
            len(done),
            told,
            double.map(range(3))(),
        )

    *first, last = task(executor=here)(ways)()()
    assert first == [2, 4, [2, 4], [2 * n for n in range(20)], 3, [0]]
    assert last == [0, 2, 4]


def test_several_threads_of_a_body(here):
    def several():
        found = []
        threads = [
            threading.Thread(target=lambda n=n: found.append(double(n)()))
            for n in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return sorted(found)

    for _ in range(3):
        assert task(executor=here)(several)()() == [2 * n for n in range(8)]


def test_who_is_told_of_a_value_may_run_a_graph(here):
    def told():
        found = concurrent.futures.Future()
        double(1).submit().add_done_callback(
            lambda future: found.set_result(double(future.result())())
        )
        return found.result(60)

    assert task(executor=here)(told)()() == 4


def test_who_is_told_of_a_value_may_raise_anything(here):
    def told():
        def leave(_):
            raise SystemExit(3)

        future = double(1).submit()
        # Called here at once, if it is over by now.
        with contextlib.suppress(SystemExit):
            future.add_done_callback(leave)
        future.result()
        return double(2)()

    assert task(executor=here)(told)()() == 4


def test_a_run_is_seen_by_the_caller(here, tmp_path, monkeypatch):
    """A trace is written where the caller is, and complete when the task goes on."""

    def traced(path):
        value = double(1).run(trace=path, progress="off")
        return value, Path(path).read_text()

    waited_for = threading.Event()

    class Late(Watch):
        def settle(self):
            waited_for.set()
            super().settle()

    monkeypatch.setattr("entangle._run.observers.Watch", Late)
    # Nothing is written before somebody waits for it.
    pools.get().serial("views").call(waited_for.wait, 60)
    try:
        value, text = task(executor=here)(traced)(str(tmp_path / "t.json"))()
    finally:
        waited_for.set()
    assert value == 2
    assert [each["name"] for each in json.loads(text)].count("double") == 1


def test_a_coroutine(here):
    async def work(number):
        return await double(number) + await double(number)

    assert task(executor=here)(work)(3)() == 12


def test_flows(here):
    def flow(value):
        up = dataflow(add)
        made = up(up(), up())
        return made(value), asyncio.run(made.run_async(1)), made.submit(2).result()

    assert task(executor=here)(flow)(0)() == ((2, 2), (3, 3), (4, 4))


# -- room: one place with one worker


@pytest.mark.usefixtures("ended")
def test_as_deep_as_wanted_in_a_place_with_room_for_one():
    pids = deep(6)()
    assert len(set(pids)) == len(pids) == 6


@pytest.mark.usefixtures("ended")
def test_as_deep_as_wanted_in_places_for_one_call():
    assert len(set(deep_alone(4)())) == 4


@pytest.mark.usefixtures("ended")
def test_as_deep_as_wanted_under_a_limit():
    assert deep_limited(5)() == 5


@pytest.mark.usefixtures("ended")
def test_as_deep_as_wanted_in_turn():
    assert mixed(9)() == 9


@pytest.mark.usefixtures("ended")
def test_tiny_calls_some_of_which_wait():
    """What was queued behind one that waits goes elsewhere."""
    sometimes.map(range(1, 200))()  # they are known to be tiny
    assert sometimes.map(range(200))() == [*range(200)]


@pytest.mark.usefixtures("ended")
def test_a_second_place_that_cannot_be_opened(monkeypatch):
    """What waits for the only one, in which the call waits for it, is told."""
    opened = []

    def once(executor, command):
        opened.append(1)
        if len(opened) > 1:
            raise PermissionError("no more")
        return opens(executor, command)

    opens = NearExecutor.open
    monkeypatch.setattr(NearExecutor, "open", once)
    with pytest.raises(PermissionError, match="no more"):
        deep_alone(2)()
    assert len(opened) == 2


def test_a_place_is_full_again_when_its_call_goes_on(tmp_path):
    def enter(folder, number, asks):
        if asks:
            double(1)()
        mine = Path(folder, str(number))
        mine.touch()
        time.sleep(0.05)
        here = len(os.listdir(folder))
        mine.unlink()
        return here

    with HereExecutor(calls=1) as one:
        body = task(executor=one)(enter)
        folder = str(tmp_path)
        body(folder, 0, True)()
        calls = [body(folder, number, False) for number in range(10)]
        assert gather(*calls)() == [1] * 10


# -- values and errors


def test_large_values(here):
    def there_and_back(array):
        twice = process(lambda given: given * 2)(array)()
        twice[0] = 7
        return float(twice.sum())

    array = np.ones(3_000_000)
    assert task(executor=here)(there_and_back)(array)() == 2 * 3_000_000 + 5


def test_errors_are_what_was_raised(here):
    def catches():
        def fail(key):
            raise KeyError(key)

        try:
            process(fail)("k")()
        except KeyError as error:
            return error.args, "fail" in "".join(error.__notes__)

    assert task(executor=here)(catches)()() == (("k",), True)


def test_an_error_that_is_not_caught_is_the_calls(here):
    def outer():
        return process(lambda: 1 / 0)()()

    with pytest.raises(ZeroDivisionError) as caught:
        task(executor=here)(outer)()()
    notes = "\n".join(caught.value.__notes__)
    assert "in outer" in notes
    assert "1 / 0" in notes
    assert "concurrent" not in notes
    assert "entangle/" not in notes


def test_what_cannot_travel(here):
    def argument():
        double(threading.Lock())()

    def value():
        return thread(threading.Lock)()()

    for body in (argument, value):
        with pytest.raises(UnpicklableError, match="lock"):
            task(executor=here)(body)()()
    assert task(executor=here)(lambda: double(1)())()() == 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_value_whose_pickling_would_end_a_program(here, kind):
    """Whoever waits for it is told."""
    with pytest.raises(TaskError, match=f"{kind.__name__}: no"):
        task(executor=here)(lambda: thread(Unwilling)(kind)())()()


def test_a_future_belongs_to_its_process(here):
    def body():
        return double(double(1).submit())()

    with pytest.raises(UnpicklableError, match="under way"):
        task(executor=here)(body)()()


def test_settings_of_the_run(here):
    def late():
        process(time.sleep)(600).run(timeout=0.2)

    with pytest.raises(ProcessTimeoutException):
        task(executor=here)(late)()()
    with pytest.raises(ValueError, match="workers"):
        task(executor=here)(lambda: double(1).run(workers=0))()()


def test_what_cannot_be_had_there_is_refused(here):
    def lazily():
        return list(as_completed([double(1)]))

    def watched():
        return double(1).run(observers=[print])

    def observing():
        with observe(print):
            return double(1)()

    def paid():
        with budget(usd=1):
            return double(1)()

    def stream():
        return list(dataflow(add)().stream([1]))

    def told():
        return dataflow(callback=print)(add)()(1)

    for body in (lazily, watched, observing, paid, stream, told):
        with pytest.raises(NestedRunError):
            task(executor=here)(body)()()


def test_a_place_that_is_not_trusted():
    with HereExecutor(trust=False) as here:
        with pytest.raises(TaskError, match="not trusted"):
            task(executor=here)(lambda: double(1)())()()
        assert task(executor=here)(abs)(-1)() == 1


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_another_version_by_name(version):
    """What is in a module is found at both ends."""
    with HereExecutor(interpreter(version)) as here:
        assert task(executor=here)(all_doubled)(3)() == [0, 2, 4]


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_another_version_is_sent_no_bytecode(version):
    """It would crash by it."""
    with HereExecutor(interpreter(version)) as here:
        with pytest.raises(UnpicklableError, match="another version"):
            task(executor=here)(asks_for_function)()()
        with pytest.raises(TaskError, match="of its own") as caught:
            task(executor=here)(asks_for_error)()()
        assert "noted" in caught.value.__notes__


# -- events


def test_they_are_the_calls_own(here):
    """Whoever observes the run sees those that it contains."""
    events = []
    with observe(events.append, only=[RunStarted, RunEnded]):
        task(executor=here)(lambda: double(1)() + double(2)())()()
    outer, *inner = [event for event in events if type(event) is RunStarted]
    assert len(inner) == 2
    assert {event.parent for event in inner} == {(outer.run, 1)}
    assert len(events) == 6


def test_they_keep_to_the_calls_budget(here):
    def three():
        return [double(number)() for number in range(3)]

    body = task(executor=here)(three)
    with budget(tasks=4):
        assert body()() == [0, 2, 4]
    with budget(tasks=3), pytest.raises(BudgetExceededError):
        body()()


class Wrapping(Executor):
    """Gives its calls to another executor, as plugins may."""

    capabilities = HereExecutor.capabilities

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def start(self, call):
        self.inner.start(call)

    def cancel(self, call, grace):
        self.inner.cancel(call, grace)


def test_they_are_the_calls_own_behind_another_executor(here):
    def three():
        return [double(number)() for number in range(3)]

    events = []
    body = task(executor=Wrapping(here))(three)
    with observe(events.append, only=[RunStarted]), budget(tasks=4):
        assert body()() == [0, 2, 4]
    outer, *inner = events
    assert [event.parent for event in inner] == [(outer.run, 1)] * 3
    with budget(tasks=3), pytest.raises(BudgetExceededError):
        body()()


# -- ends


def test_they_end_with_the_pool(here, tmp_path):
    future = task(executor=here)(lambda folder: stay(folder)())(str(tmp_path)).submit()
    running = read_pid(tmp_path / "pid")
    shutdown()
    with pytest.raises(CancelledError):
        future.result(30)
    assert gone(running)


def test_they_end_with_a_cancelled_call(here, tmp_path):
    future = task(executor=here)(lambda folder: stay(folder)())(str(tmp_path)).submit()
    running = read_pid(tmp_path / "pid")
    future.cancel()
    with pytest.raises(CancelledError):
        future.result(30)
    assert gone(running)
    assert future.cancelled_how() == "killed"


def test_they_end_with_a_timeout(here, tmp_path):
    with pytest.raises(ProcessTimeoutException):
        task(executor=here, timeout=1.5)(lambda folder: stay(folder)())(str(tmp_path))()
    assert gone(read_pid(tmp_path / "pid"))


def test_they_end_with_the_stream(here, tmp_path):
    future = task(executor=here)(lambda folder: stay(folder)())(str(tmp_path)).submit()
    running = read_pid(tmp_path / "pid")
    os.kill(here.streams[0].pid, signal.SIGKILL)
    with pytest.raises(ProcessTerminatedException):
        future.result(30)
    assert gone(running)


def test_they_end_with_the_worker(here, tmp_path):
    def body(folder):
        Path(folder, "outer").write_text(str(os.getpid()))
        stay(folder)()

    future = task(executor=here)(body)(str(tmp_path)).submit()
    running = read_pid(tmp_path / "pid")
    os.kill(read_pid(tmp_path / "outer"), signal.SIGKILL)
    with pytest.raises(ProcessTerminatedException):
        future.result(30)
    assert gone(running)
    assert task(executor=here)(lambda: double(4)())()() == 8


def test_what_was_left_behind_ends_with_the_body(here, tmp_path):
    """The worker runs on, and nobody hears of it any more."""

    def leaves(folder):
        stay(folder).submit()
        until_there = time.monotonic() + 30
        while not Path(folder, "pid").exists() and time.monotonic() < until_there:
            time.sleep(0.01)
        return os.getpid()

    worker = task(executor=here)(leaves)(str(tmp_path))()
    assert gone(read_pid(tmp_path / "pid"))
    again = task(executor=here)(lambda: (os.getpid(), double(3)()))
    assert again()() == (worker, 6)


def test_a_cancelled_run_tells_how(here, tmp_path):
    def cancels(folder):
        future = stay(folder).submit()
        until_there = time.monotonic() + 30
        while not Path(folder, "pid").exists() and time.monotonic() < until_there:
            time.sleep(0.01)
        future.cancel()
        try:
            future.result()
        except CancelledError:
            return future.cancelled_how(), future.cancelled(), future.cancel()

    assert task(executor=here)(cancels)(str(tmp_path))() == ("killed", True, True)
    assert gone(read_pid(tmp_path / "pid"))


def test_a_signal_ends_the_wait(here):
    """A handler may raise: nothing of the stream is lost, and the run is ended."""

    def impatient():
        def ring(*_):
            raise InterruptedError("enough")

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            process(time.sleep)(600)()
        except InterruptedError as error:
            return str(error), double(2)()

    assert task(executor=here)(impatient)()() == ("enough", 4)


def test_a_forked_child_has_nobody_to_ask(here):
    """It must neither write to the stream that its parent has nor start a pool."""

    def forks():
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                double(1)()
            except BaseException as error:
                os.write(write, type(error).__name__.encode())
            os._exit(0)
        os.waitpid(child, 0)
        return os.read(read, 100).decode(), double(1)()

    # Before anything was asked for, and then.
    for _ in range(2):
        assert task(executor=here)(forks)()() == ("NestedRunError", 2)


def test_a_thread_that_is_left_finds_no_task(here):
    def leaves():
        def later():
            time.sleep(0.2)
            try:
                double(1)()
            except BaseException as error:
                sys.stderr.write(type(error).__name__ + "\n")

        threading.Thread(target=later).start()

    task(executor=here)(leaves)()()
    time.sleep(0.4)
    assert task(executor=here)(lambda: double(1)())()() == 2


def test_events_of_ended_calls_wait_for_nobody(here, tmp_path):
    """Many at once, half of them cancelled: all is over."""

    def waits(folder, number):
        if number % 2:
            return double(number)()
        Path(folder, str(number)).touch()
        return process(time.sleep)(600)()

    body = task(executor=here)(waits)
    folder = str(tmp_path)
    futures = [body(folder, number).submit() for number in range(6)]
    until(lambda: len(os.listdir(folder)) == 3)
    for future in futures[::2]:
        future.cancel()
    for future in futures[1::2]:
        assert future.result(60) in {2, 6, 10}
    for future in futures[::2]:
        with pytest.raises(CancelledError):
            future.result(60)
