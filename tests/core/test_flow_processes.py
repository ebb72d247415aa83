"""Flows whose functions run in processes: what is sent, who dies, what is left."""

import itertools
import os
import signal
import threading
from concurrent.futures import CancelledError

import pytest
from life_kit import PATIENCE, SOON, end, gone, line_of, program, until, within

from entangle._pool import pool as pools
from entangle._pool.worker import WorkerProcess
from entangle._worker import frames
from entangle.dataflow import dataflow, process, thread
from entangle.errors import (
    FlowError,
    ProcessTerminatedException,
    ProcessTimeoutException,
    UnpicklableError,
)
from entangle.task import task

pytestmark = pytest.mark.process

BIG = 1 << 16  # bytes: more than is sent with each call, less than is shared memory's


@dataflow
def same(value):
    return value


@process
@dataflow
def length(value):
    return len(value)


@process
@dataflow
def pid(value):
    return os.getpid()


@process
@dataflow
def die(value):
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@process
@dataflow
def stay(value):
    threading.Event().wait(600)


@pytest.fixture
def sent(monkeypatch):
    """The sizes of the values that were sent ahead to workers."""
    sizes = []

    def counted(worker, kind, body, buffers):
        if kind == frames.SHARED:
            sizes.append(sum(len(buffer) for buffer in buffers))
        return send_with(worker, kind, body, buffers)

    send_with = WorkerProcess.send_with
    monkeypatch.setattr(WorkerProcess, "send_with", counted)
    return sizes


def workers_know():
    """How many values workers hold for calls to come."""
    processes = pools.existing().processes
    return sum(len(worker.shared) for worker in processes._fleet)


class Counting:
    """A value that counts how often it is encoded."""

    encoded = 0

    def __init__(self):
        self.data = b"x" * BIG

    def __len__(self):
        return len(self.data)

    def __reduce__(self):
        Counting.encoded += 1
        return bytes, (self.data,)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: b"x" * BIG,
        lambda _: [b"x" * BIG, 1],
        lambda _: "x" * BIG,
        lambda _: Counting(),
    ],
    ids=["bytes", "list", "text", "object"],
)
@pytest.mark.parametrize("how", [thread, process])
def test_a_value_is_encoded_once_and_sent_once_to_each_worker(how, make, sent):
    Counting.encoded = 0
    flow = how(dataflow(make))(*[length() for _ in range(100)])
    assert len(set(flow(1))) == 1
    assert 1 <= len(sent) <= pools.existing().capacity
    assert all(size >= BIG for size in sent)
    assert Counting.encoded <= 1
    until(lambda: not workers_know())


@pytest.mark.parametrize("how", [thread, process])
def test_a_large_value_is_stored_once(how, sent, monkeypatch):
    granted = []

    def counted(holder, nbytes):
        granted.append(nbytes)
        return grant(holder, nbytes)

    flow = how(dataflow(lambda _: b"x" * (1 << 20)))(*[length() for _ in range(100)])
    assert flow(0) == (1 << 20,) * 100
    segments = pools.existing().segments
    grant = segments.grant
    monkeypatch.setattr(segments, "grant", counted)
    assert flow(1) == (1 << 20,) * 100
    assert len(granted) == 1
    assert sent == []


def test_small_values_are_not_sent_ahead(sent):
    assert same(length(), length())([1, [2]]) == (2, 2)
    assert same(same(), length())("x" * BIG) == ("x" * BIG, BIG)
    assert sent == []


def test_threads_share_the_object_that_processes_get_copies_of():
    made = []

    @dataflow
    def make(value):
        made.append([b"x" * BIG])
        return made[-1]

    is_made = dataflow(lambda value: value is made[-1])
    assert make(length(), is_made(), length(), is_made())(1) == (1, True, 1, True)


def test_a_value_that_does_not_pickle_fails_its_processes_alone():
    flow = dataflow(lambda _: threading.Lock())(
        length(), dataflow(lambda lock: lock.locked())(), length()
    )
    with pytest.raises(FlowError) as caught:
        flow(1)
    kinds = [type(error) for error in caught.value.exceptions]
    assert kinds == [UnpicklableError] * 2


def test_a_stream_has_workers_forget(sent):
    make = dataflow(lambda number: bytes([number]) * BIG)
    flow = make(length(), dataflow(process(lambda value: value[0]))())
    for number, result in enumerate(flow.stream(range(20), buffer=2)):
        assert result == (BIG, number)
        assert workers_know() <= 4 * 2
    assert 20 <= len(sent) <= 40
    until(lambda: not workers_know())


def test_arrays_go_through():
    import numpy as np

    @process
    @dataflow
    def add_one(array):
        array += 1  # its own copy
        return array

    flow = same(add_one(add_one()), add_one())
    array = np.zeros(50_000)
    for twice, once in flow.stream([array] * 3):
        assert twice.sum() == 100_000
        assert once.sum() == 50_000
    assert array.sum() == 0


def test_both_processors_are_used():
    """Two inputs are at work at once, in different processes."""
    rounds = [set(same(pid(), pid())(n)) for n in range(20)]
    assert len(set.union(*rounds)) >= min(2, pools.existing().capacity)


def test_a_dead_worker_fails_its_input_alone():
    results = list(die(length_of_str()).stream(range(6), errors="yield"))
    broken = results.pop(3)
    assert isinstance(broken.exceptions[0], ProcessTerminatedException)
    assert broken.input == 3
    assert results == [(1,)] * 5


def length_of_str():
    return dataflow(lambda value: len(str(value)))()


def test_timeout_ends_a_stage():
    slow = task(timeout=0.2)(stay)
    with within(SOON * 2), pytest.raises(FlowError) as caught:
        same(slow(same()), pid())(1)
    (error,) = caught.value.exceptions
    assert isinstance(error, ProcessTimeoutException)


@process
@dataflow
def enter_and_stay(path, value=None):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    threading.Event().wait(600)


def test_cancel_ends_processes(tmp_path):
    path = tmp_path / "pid"
    future = same(enter_and_stay(same())).submit(path)
    inside = int(until(lambda: path.exists() and path.read_text()))
    assert future.cancel()
    gone(inside)
    with pytest.raises(CancelledError):
        future.result()
    assert future.cancelled_how() == "killed"


@pytest.mark.parametrize("how", ["close", "collect", "leave"])
def test_the_end_of_a_stream_ends_processes(tmp_path, how):
    paths = [tmp_path / str(n) for n in range(2)]
    stop = threading.Event()

    @dataflow
    def first_passes(value):
        return "passed"

    flow = same(lambda path: first_passes() if path is None else enter_and_stay())
    source = itertools.chain(
        [None, *paths], (None for _ in itertools.count() if not stop.is_set())
    )
    stream = flow.stream(source, buffer=4)
    assert next(stream) == ("passed",)
    pids = [int(until(lambda p=p: p.exists() and p.read_text())) for p in paths[:1]]
    with within(SOON):
        if how == "close":
            stream.close()
        elif how == "leave":
            with pytest.raises(ZeroDivisionError), stream:
                raise ZeroDivisionError
        else:
            del stream
    gone(*pids)
    assert not pools.existing().runs


STREAM = """
import itertools, os, sys, time
from entangle.dataflow import dataflow, process
@process
@dataflow
def stay(number):
    print("in", os.getpid(), flush=True)
    time.sleep(600)
def source():
    try:
        yield from itertools.count()
    finally:
        print("closed", flush=True)
for result in stay().stream(source()):
    pass
"""


def test_ctrl_c_in_the_middle_of_a_stream():
    running = program(STREAM)
    inside = int(line_of(running).split()[1])
    with within(SOON * 2):
        running.send_signal(signal.SIGINT)
        status, out, err = end(running)
    assert status != 0
    assert "closed" in out
    assert err.rstrip().endswith("KeyboardInterrupt")
    gone(inside)


def test_a_caller_that_is_killed_in_the_middle_of_a_stream():
    running = program(STREAM)
    inside = int(line_of(running).split()[1])
    running.kill()
    end(running)
    gone(inside)


def test_a_stream_that_is_never_closed():
    """Its program ends all the same, and leaves nothing running."""
    code = """
import itertools
from entangle.dataflow import dataflow
@dataflow(executor="process")
def inc(number):
    return number + 1
stream = inc(inc()).stream(itertools.count())
print(next(stream))
"""
    status, out, err = end(program(code), PATIENCE)
    assert (status, out, err) == (0, "(2,)\n", "")


def test_functions_of_a_script():
    """By value, with their tasks and callbacks."""
    code = """
from entangle.dataflow import dataflow, process
def told(function, value):
    print(function.__name__, value)
@dataflow(callback=told)
@process
def double(value):
    return helper(value)
def helper(value):
    return 2 * value
@dataflow(callback=told, executor="process", maxworkers=3)
def emit(value, **kwargs):
    return value + "!"
flow = emit(double(double()))
print(flow("a"))
@process
def calls(flow, value):
    return flow(value), flow.same_structure(flow)
@dataflow
def inner(value):
    return value
print(calls.__wrapped__ is not None, inner(inner())(1))
from entangle.task import task
print(task(lambda f, v: f(v))(inner(double()), "b")())
"""
    status, out, err = end(program(code), PATIENCE)
    assert (status, err) == (0, "")
    assert out == (
        "emit a!\ndouble a!a!\ndouble a!a!a!a!\n('a!a!a!a!',)\n"
        "True (1,)\ndouble bb\n('bb',)\n"
    )


def test_shutdown_in_the_middle_of_a_stream():
    from entangle.task import shutdown

    stream = same(pid()).stream(itertools.count())
    next(stream)
    shutdown()
    with pytest.raises(BaseException, match="was cancelled"):
        for _ in stream:
            pass
    assert next(same(pid()).stream([1]))
