"""What calls in worker processes find there, and which worker they get."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import gates
import pytest

from entangle._pool import pool as pools
from entangle.errors import CompositionError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import LowestFree, scheduler
from entangle.task import gather, shutdown
from entangle.thread import thread
from entangle.workflow import workflow


@pytest.fixture
def gate(tmp_path):
    made = gates.Gate(tmp_path)
    yield made
    made.close()


@pytest.fixture
def anew():
    """A pool of the test's own."""
    shutdown()
    yield
    shutdown()


@process
def pid(_=None):
    return os.getpid()


@process(fresh=True)
def fresh_pid(_=None):
    return os.getpid()


def test_workers_are_used_again(anew):
    assert len({pid()() for _ in range(10)}) == 1
    assert pid()() != os.getpid()


def test_fresh_ones_are_not(anew):
    assert len(set(fresh_pid.map(range(6))())) == 6


def test_what_a_call_leaves_in_its_worker_stays_there_unless_fresh():
    def mark():
        import builtins

        before = getattr(builtins, "entangle_mark", 0)
        builtins.entangle_mark = before + 1
        return before

    once = process(fresh=True)(mark)
    assert [once()() for _ in range(3)] == [0, 0, 0]


def test_preloaded_modules():
    @process(fresh=True, preload=["colorsys"])
    def loaded():
        return "colorsys" in sys.modules

    @process(fresh=True)
    def plain():
        return "colorsys" in sys.modules

    assert loaded()() is True
    assert plain()() is False


def test_environment_directory_niceness(tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "kept")

    @process(env={"NEW": "new"}, cwd=tmp_path, nice=1)
    def look():
        return os.environ["KEPT"], os.environ["NEW"], str(Path.cwd()), os.nice(0)

    kept, new, cwd, niceness = look()()
    assert (kept, new, cwd) == ("kept", "new", str(tmp_path))
    assert niceness == os.nice(0) + 1
    assert "NEW" not in process(lambda: dict(os.environ))()()


def test_a_directory_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        process(cwd="/no/such/folder")(int)("3")()
    assert process(int)("3")() == 3


def test_changes_of_the_callers_state_are_seen(monkeypatch, tmp_path):
    @process
    def look():
        return os.environ.get("LATER"), str(Path.cwd()), sys.getrecursionlimit()

    before = look()()
    assert before[0] is None
    monkeypatch.setenv("LATER", "now")
    monkeypatch.chdir(tmp_path)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 100)
    try:
        assert look()() == ("now", str(tmp_path), limit + 100)
    finally:
        sys.setrecursionlimit(limit)
    monkeypatch.undo()
    assert look()() == before


def test_changes_of_globals_are_seen():
    def read():
        return setting  # noqa: F821 - given below

    namespace = {"setting": 1}
    task = process(type(read)(read.__code__, namespace, "read"))
    assert task()() == 1
    namespace["setting"] = 2
    assert task()() == 2


def draw_one():
    return random.random()


def test_random_numbers_are_seeded_afresh():
    random.seed(1)
    draw = process(fresh=True)(draw_one)
    drawn = gather(*(draw() for _ in range(4)))()
    assert len(set(drawn)) == 4
    random.seed(1)
    assert random.random() not in drawn


def test_random_numbers_of_numpy_are_seeded_afresh():
    pytest.importorskip("numpy")

    @process(fresh=True, preload=["numpy.random"])
    def draw():
        import numpy as np

        return float(np.random.random())

    assert len(set(gather(*(draw() for _ in range(4)))())) == 4


class Shape:
    """A class that workers know by value."""

    sides = 4

    @process
    def area(self, height):
        return self.width * height

    def __init__(self, width):
        self.width = width


def test_classes_by_value_keep_their_identity():
    @process
    def make(width):
        return Shape(width)

    @process
    def check(shape):
        return type(shape) is Shape, isinstance(shape, Shape)

    assert type(make(1)()) is Shape
    assert check(Shape(1))() == (True, True)
    assert check(make(1))() == (True, True)


def test_methods():
    shape = Shape(3)
    assert shape.area(2)() == 6
    assert Shape.area(shape, 4)() == 12


def test_tasks_reached_by_tasks_stay_tasks():
    @process
    def helper(x):
        return x + 1

    @process
    def direct(x):
        return helper(x)

    @process
    def by_function(x):
        return helper.fn(x)

    assert direct(1)() == 2
    assert by_function(1)() == 2


def test_idle_workers_are_trimmed(monkeypatch):
    shutdown()
    monkeypatch.setenv("ENTANGLE_IDLE", "0.05")
    assert pid()() != os.getpid()
    pool = pools.get()
    patience = threading.Event()
    for _ in range(2_000):
        if not pool.processes.pids():
            break
        patience.wait(0.005)
    assert pool.processes.pids() == []
    assert pid()() != os.getpid()
    shutdown()


@pytest.mark.parametrize("text", ["never", "-1", "nan"])
def test_a_time_to_idle_that_makes_no_sense(monkeypatch, text):
    shutdown()
    monkeypatch.setenv("ENTANGLE_IDLE", text)
    with pytest.raises(ValueError, match="ENTANGLE_IDLE"):
        pid()()


def test_a_number_of_workers_that_makes_no_sense(monkeypatch):
    shutdown()
    monkeypatch.setenv("ENTANGLE_WORKERS", "many")
    with pytest.raises(ValueError, match="ENTANGLE_WORKERS"):
        pid()()
    with pytest.raises(ValueError, match="ENTANGLE_WORKERS"):
        pid().submit()


def test_as_many_workers_as_asked_for(monkeypatch, gate):
    shutdown()
    monkeypatch.setenv("ENTANGLE_WORKERS", "3")
    hold = process(gates.through)
    future = gather(*(hold(gate.path) for _ in range(4))).submit()
    assert len(set(gate.reached(3))) == 3
    gate.open(3)
    gate.reached()
    gate.open()
    future.result()
    shutdown()


# -- processors ------------------------------------------------------------------


def affinity():
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return sorted(os.sched_getaffinity(0)), [os.environ.get(name) for name in names]


def test_reserved_processors():
    here = sorted(os.sched_getaffinity(0))
    one = process(affinity)
    assert local(cpus=1)(one)()() == (here[:1], ["1", "1"])
    assert local(cpus=10_000)(one)()() == (here, [str(len(here))] * 2)
    assert local(one)()()[0] == here


def test_reserved_processors_are_not_given_twice(monkeypatch, gate):
    shutdown()
    monkeypatch.setenv("ENTANGLE_WORKERS", "2")
    wide = local(cpus=2)(process(gates.through))
    holder = wide(gate.path).submit()
    gate.reached()
    other = pid().submit()
    with pytest.raises(TimeoutError):
        other.result(0.05)
    gate.open()
    assert holder.result() is None
    assert other.result() != os.getpid()
    shutdown()


def test_tasks_that_share_processors():
    here = sorted(os.sched_getaffinity(0))
    task = scheduler(cpus=1)(process(affinity))
    found = gather(*(task() for _ in range(4)))()
    assert [cpus for cpus, _ in found] == [here[:1]] * 4


def test_each_call_of_a_scheduler_has_a_processor_of_its_own(gate):
    here = sorted(os.sched_getaffinity(0))
    if len(here) < 2:
        pytest.skip("one processor")

    @scheduler(cpus=2, impl=LowestFree)
    @process
    def hold(path):
        gates.through(path)
        return min(os.sched_getaffinity(0))

    future = hold.map([gate.path] * 3).submit()
    room = min(2, pools.get().capacity)
    gate.reached(room)
    gate.open(3)
    assert set(future.result()) <= set(here[:2])


class Highest:
    """A scheduler of the user's."""

    def __init__(self, cpus):
        self.cpus = cpus

    def choose(self, free):
        return max(free)


class Lost(Highest):
    def choose(self, free):
        raise LookupError("no idea")


class Wrong(Highest):
    def choose(self, free):
        return -1


class Never(Highest):
    def choose(self, free):
        return None


class Unmade(Highest):
    def __init__(self, cpus):
        raise OSError("not to be made")


def test_a_scheduler_of_the_users():
    count = len(os.sched_getaffinity(0))
    task = scheduler(cpus=count, impl=Highest)(process(affinity))
    assert task()()[0] == [max(os.sched_getaffinity(0))]


@pytest.mark.parametrize(
    ("impl", "error"),
    [
        (Lost, LookupError),
        (Wrong, ValueError),
        (Never, RuntimeError),
        (Unmade, OSError),
        ("no.such.module.Thing", CompositionError),
    ],
)
def test_a_scheduler_that_is_no_use(impl, error):
    task = scheduler(cpus=1, impl=impl)(process(affinity))
    with pytest.raises(error):
        task()()
    assert pid()() != os.getpid()


def test_a_call_that_waits_for_a_processor_can_be_cancelled(gate):
    shared = scheduler(cpus=1, impl=Highest)
    first = shared(process(gates.through))(gate.path).submit()
    gate.reached()
    second = shared(process(affinity))().submit()
    second.cancel()
    assert isinstance(_error(second), BaseException)
    assert second.cancelled_how() == "already done"
    gate.open()
    first.result()
    assert shared(process(affinity))()()


def _error(future):
    try:
        future.result()
    except BaseException as error:
        return error


# -- limits ----------------------------------------------------------------------


def test_at_most_so_many_processes_of_a_task(gate):
    hold = process(limit=1)(gates.through)
    futures = [hold(gate.path, n).submit() for n in range(3)]
    for _ in range(3):
        gate.reached()
        gate.open()
    assert sorted(future.result() for future in futures) == [0, 1, 2]


def test_a_limit_lets_the_next_in_after_a_failure():
    @process(limit=1)
    def fail(n):
        raise ValueError(n)

    values = fail.map(range(3), return_exceptions=True)()
    assert [error.args for error in values] == [(0,), (1,), (2,)]


# -- the rest --------------------------------------------------------------------


def test_many_small_calls():
    @process
    def add(a, b):
        return a + b

    assert sum(add.map(range(5_000), range(5_000))()) == 5_000 * 4_999


def test_small_calls_behind_one_that_is_slow(gate):
    @process
    def work(n, path):
        if n == 300:
            gates.through(path)
        return n

    future = work.map(range(600), path=gate.path).submit()
    gate.reached()
    gate.open()
    assert future.result() == list(range(600))


def test_a_chain_through_processes():
    @process
    def more(n):
        return n + 1

    node = more(0)
    for _ in range(200):
        node = more(node)
    assert node() == 201


def test_children_of_a_task_end_with_it():
    @process
    def leave():
        return subprocess.Popen(["sleep", "1000"]).pid

    child = leave()()
    again = pid()()
    assert again != child
    patience = threading.Event()
    for _ in range(2_000):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        patience.wait(0.005)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_process_in_a_workflow_in_a_thread():
    @workflow
    def flow(n):
        return gather(*(pid() for _ in range(n)))

    @thread
    def count(n):
        return len(flow(n)())

    assert count(3)() == 3
