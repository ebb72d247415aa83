"""Troubles of ours, of executors and of the system: told, and kept to their run."""

import concurrent.futures as cf
import contextvars
import os
import threading

import pytest

from entangle._engine import Engine
from entangle._pool import pool as pools
from entangle._pool.serial import Serial
from entangle._pool.threads import Threads
from entangle.backend import Executor, ProcessExecutor
from entangle.errors import (
    InternalError,
    ProcessTimeoutException,
    TaskError,
    UnpicklableError,
    WorkerStartError,
)
from entangle.process import process
from entangle.task import as_completed, gather, shutdown, task
from entangle.thread import thread
from entangle.workflow import workflow


@thread
def number(value=1):
    return value


@thread
def wait_for(event):
    assert event.wait(60)


@pytest.fixture
def event():
    made = threading.Event()
    yield made
    made.set()


# -- ours ------------------------------------------------------------------------


def lose_state(patch):
    def fail(*args, **kwargs):
        raise LookupError("lost")

    patch.setattr(Engine, "all_succeeded", fail)


def test_a_run_that_has_lost_its_state_ends_alone(event, monkeypatch):
    other = wait_for(event).submit()
    with monkeypatch.context() as patch:
        lose_state(patch)
        with pytest.raises(InternalError, match=r"LookupError.*report") as caught:
            gather(number(), wait_for(event))()
    assert isinstance(caught.value.__cause__, LookupError)
    event.set()
    assert other.result() is None
    assert number(2)() == 2


def test_trouble_in_ending_the_calls_of_such_a_run(event, monkeypatch):
    from entangle._run.thread_place import ThreadPlace

    def refuse(self, call):
        raise OSError("not now")

    alone = thread(limit=1)(threading.Event.wait)
    with monkeypatch.context() as patch:
        patch.setattr(ThreadPlace, "cancel", refuse)
        lose_state(patch)
        with pytest.raises(InternalError) as caught:
            gather(number(), alone(event))()
    assert "and in ending Event.wait: OSError('not now')" in caught.value.__notes__
    # It holds up no other call of its task.
    done = threading.Event()
    done.set()
    assert alone(done)()
    event.set()
    assert number(2)() == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"workers": 0}, ValueError),
        ({"workers": True}, TypeError),
        ({"workers": 1.0}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
    ],
)
def test_options_of_a_run_that_make_no_sense(options, error):
    (name,) = options
    for start in (number().run, number().submit):
        with pytest.raises(error, match=name):
            start(**options)


# -- what comes back -------------------------------------------------------------


def test_returned_nodes_whose_arguments_cannot_be_sent():
    @workflow
    def flow():
        return process(str)(threading.Lock())

    with pytest.raises(UnpicklableError, match="lock"):
        flow()()
    assert number()() == 1


class Broken:
    """What pickles, and cannot be put together again."""

    def __reduce__(self):
        return int, ("nonsense",)


def test_returned_nodes_that_cannot_be_rebuilt():
    @process
    def give():
        return number(Broken())

    with pytest.raises(TaskError, match="nodes were returned") as caught:
        give()()
    assert "nonsense" in str(caught.value)


def test_a_function_that_cannot_be_sent():
    lock = threading.Lock()

    @process
    def hold():
        return lock

    with pytest.raises(UnpicklableError) as caught:
        hold()()
    assert "'lock'" in caught.value.path
    assert caught.value.node.endswith("hold")


def test_a_returned_value_of_nodes_that_fit_nowhere():
    @workflow
    def flow():
        return {number([1]): 1}

    with pytest.raises(TypeError, match="unhashable"):
        flow()()


# -- executors -------------------------------------------------------------------


class Place(Executor):
    """An executor that a test answers for."""

    def __init__(self):
        super().__init__()
        self.given = threading.Event()
        self.call = None

    def start(self, call):
        self.call = call
        self.given.set()

    def cancel(self, call, grace):
        raise OSError("not reachable")


def submitted(place):
    """Submit one call to a place and wait until the place has it."""
    future = task(executor=place)(int)("3").submit()
    assert place.given.wait(60)
    return future


def test_an_executor_that_cannot_end_a_call():
    future = submitted(Place())
    future.cancel()
    with pytest.raises(cf.CancelledError):
        future.result()
    assert future.cancelled_how() == "cannot kill"


def test_an_executor_that_ends_a_call_unasked():
    place = Place()
    future = submitted(place)
    place.call.cancelled("killed")
    with pytest.raises(TaskError, match="unasked"):
        future.result()


def test_a_call_that_prints(capsys):
    place = Place()
    future = submitted(place)
    place.call.output("stdout", "out\n")
    place.call.output("stderr", "err\n")
    place.call.succeeded(3)
    assert future.result() == 3
    assert capsys.readouterr() == ("out\n", "err\n")


def test_late_reports_are_ignored():
    place = Place()
    future = submitted(place)
    place.call.succeeded(3)
    place.call.failed(ValueError())
    place.call.cancelled("killed")
    place.call.started()
    assert future.result() == 3


def test_a_place_that_may_end_calls_may_have_a_timeout():
    def hang():
        threading.Event().wait()

    hanging = task(executor=ProcessExecutor(), timeout=0.2)(hang)
    with pytest.raises(ProcessTimeoutException):
        hanging()()


def test_a_foreign_future_that_its_owner_cancels():
    class Owner(cf.Executor):
        def __init__(self):
            self.futures = []

        def submit(self, fn, /, *args, **kwargs):
            self.futures.append(cf.Future())
            ready.set()
            return self.futures[-1]

    ready, owner = threading.Event(), Owner()
    future = task(executor=owner)(int)().submit()
    assert ready.wait(60)
    owner.futures[0].cancel()
    owner.futures[0].set_running_or_notify_cancel()
    with pytest.raises(TaskError, match="unasked"):
        future.result()


def test_a_foreign_executor_that_refuses():
    class Full(cf.Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise BufferError("full")

    with pytest.raises(BufferError, match="full"):
        task(executor=Full())(int)()()


# -- scopes and limits -----------------------------------------------------------


def test_a_run_that_comes_after_the_end_of_its_call(event):
    contexts = []

    @thread
    def leave():
        contexts.append(contextvars.copy_context())

    leave()()
    late = contexts[0].run(lambda: wait_for(event).submit())
    with pytest.raises(cf.CancelledError):
        late.result(60)


class SlowToShip:
    """Lets the pool do all that it has to do while a run is being built."""

    def __reduce__(self):
        heard = threading.Event()
        pools.existing().hub.post(heard.set)
        assert heard.wait(60)
        return SlowToShip, ()


@pytest.mark.parametrize("how", ["submit", "run", "as_completed"])
def test_a_run_whose_call_ends_while_it_is_built(how):
    contexts = []

    @thread
    def leave():
        contexts.append(contextvars.copy_context())

    leave()()
    node = process(str)(SlowToShip())
    use = {
        "submit": lambda: node.submit().result(60),
        "run": node.run,
        "as_completed": lambda: [f.result() for _, f in as_completed([node])],
    }[how]
    with pytest.raises(cf.CancelledError):
        contexts[0].run(use)


@pytest.mark.parametrize("how", [thread, process, workflow])
def test_a_limited_task_may_wait_for_itself(how):
    @how(limit=1)
    def down(n):
        return down(n - 1)() + 1 if n else 0

    assert down(3)() == 3


def test_a_limited_coroutine_may_wait_for_itself():
    @thread(limit=1)
    async def down(n):
        return await down(n - 1) + 1 if n else 0

    assert down(3)() == 3


def test_a_limited_task_may_wait_for_a_future_of_its_own():
    @thread(limit=1)
    def down(n):
        if not n:
            return 0
        future = down(n - 1).submit()
        return future.result() + 1 if n % 2 else (future.exception() or 10)

    assert down(1)() == 1
    assert down(2)() == 10


# -- a system without threads ----------------------------------------------------


@pytest.fixture
def no_threads(monkeypatch):
    """A system that refuses new threads, until undone."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


def test_a_pool_without_threads(no_threads):
    pool = Threads()
    done = threading.Event()
    with pytest.raises(WorkerStartError, match="can't start new thread"):
        pool.run(done.set)
    no_threads.undo()
    pool.run(done.set)
    assert done.wait(60)
    pool.close()


def test_a_pool_that_gets_no_more_threads(monkeypatch):
    pool = Threads(2)
    first, go, second = threading.Event(), threading.Event(), threading.Event()
    pool.run(lambda: (first.set(), go.wait(60)))
    assert first.wait(60)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool.run(second.set)
        assert not second.is_set()
        go.set()
        assert second.wait(60)
    pool.close()


def test_a_serial_without_a_thread(no_threads, caplog):
    serial, seen = Serial("test"), []

    def fail():
        raise SystemExit

    serial.call(fail)
    serial.call(seen.append, 2)
    assert seen == [2]
    assert [record.exc_info[0] for record in caplog.records] == [SystemExit]
    serial.close()


def test_a_run_without_threads(monkeypatch):
    shutdown()
    with monkeypatch.context() as patch:

        def refuse(self):
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(WorkerStartError, match="no thread"):
            number(1)()
    assert number(1)() == 1


def test_settings_may_be_large():
    large = {f"VARIABLE_{n}": "x" * 1000 for n in range(1_000)}

    @process(env=large)
    def look(name):
        return os.environ[name]

    assert look("VARIABLE_999")() == "x" * 1000
