"""What a shutdown does to the runs that it meets: they are cancelled, never lost."""

import concurrent.futures as cf
import gc
import threading
import time

import pytest

from entangle._pool import pool as pools
from entangle.backend import ProcessExecutor
from entangle.process import process
from entangle.task import as_completed, gather, shutdown
from entangle.thread import thread


@process
def double(number):
    return 2 * number


@process
def sleep_long():
    time.sleep(60)


@thread
def wait_for(event):
    event.wait(60)


@pytest.fixture
def event():
    made = threading.Event()
    yield made
    made.set()


def shut_down_once_it_runs():
    """Return the thread that shuts down as soon as a run is under way."""

    def body():
        while True:
            pool = pools.existing()
            if pool is not None and any(run.under_way for run in list(pool.runs)):
                break
            time.sleep(0.001)
        shutdown()

    other = threading.Thread(target=body)
    other.start()
    return other


def values(node):
    return [future.result() for _, future in as_completed([node, node])]


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda node: node(), id="call"),
        pytest.param(lambda node: gather(node, double(1))(), id="gather"),
        pytest.param(lambda node: node.submit().result(60), id="submit"),
        pytest.param(values, id="as_completed"),
    ],
)
@pytest.mark.parametrize("how", ["process", "thread"])
def test_a_run_under_way_is_cancelled(wait, how, event):
    node = sleep_long() if how == "process" else wait_for(event)
    other = shut_down_once_it_runs()
    with pytest.raises(cf.CancelledError):
        wait(node)
    other.join(60)


def test_a_loop_over_what_lands_yields_all_that_it_has_drawn(event):
    nodes = [wait_for(event) for _ in range(5)]
    other = shut_down_once_it_runs()
    landed = dict(as_completed(nodes))
    assert list(landed) == nodes
    assert all(future.cancelled() for future in landed.values())
    other.join(60)


class ShutsDown:
    """A value in whose encoding the pool is shut down."""

    def __reduce__(self):
        shutdown()
        return int, (1,)


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda node: node(), id="call"),
        pytest.param(lambda node: node.submit().result(60), id="submit"),
        pytest.param(values, id="as_completed"),
    ],
)
def test_a_run_that_is_being_built(wait):
    node = double(ShutsDown())
    with pytest.raises(cf.CancelledError):
        wait(node)
    assert double(2)() == 4


def test_from_all_sides():
    """Whoever meets a shutdown gets the value or a CancelledError, nothing else."""
    stop = threading.Event()
    bad = []

    def attempt(wait, good):
        try:
            value = wait()
        except cf.CancelledError:
            return
        except BaseException as error:
            bad.append(error)
        else:
            if value != good:
                bad.append(value)

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            attempt(lambda n=number: double(n)(), 2 * number)
            attempt(lambda n=number: double(n).submit().result(60), 2 * number)
            attempt(gather(*map(double, range(9))), [2 * n for n in range(9)])
            attempt(lambda n=number: values(double(n)), [2 * number] * 2)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(40):
        shutdown()
        time.sleep(0.01)
    stop.set()
    for worker in workers:
        worker.join(60)
    assert not bad


def test_a_finalizer_that_shuts_down(event):
    raised = []

    class Held:
        def __del__(self):
            try:
                shutdown()
            except RuntimeError as error:
                raised.append(str(error))

    held = [Held()]
    future = wait_for(event).submit()
    # The last reference is dropped where only the pool's own work may run.
    future.run_of_future.hub.run_inside(held.clear)
    gc.collect()
    assert "can't be called here" in raised[0]
    event.set()
    assert future.result(60) is None


def test_a_call_that_an_executor_is_just_given():
    class Slow:
        def __reduce__(self):
            shutdown()
            return int, (5,)

    executor = ProcessExecutor()
    assert executor.submit(str, 1).result(60) == "1"
    with pytest.raises(cf.CancelledError):
        executor.submit(str, Slow()).result(60)
    assert executor.submit(str, 2).result(60) == "2"
    executor.shutdown()
