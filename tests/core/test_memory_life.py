"""Shared memory outlives nobody who has it, and nothing of it is left."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from life_kit import gone, pool_pids, until

from entangle import data
from entangle._pool import pool as pools
from entangle.errors import ProcessTerminatedException
from entangle.process import process
from entangle.task import gather, shutdown

# Many short schedules with real processes: minutes on a busy machine.
pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

MANY = 1 << 18  # items of four bytes


def usage():
    gather(*[nothing(number) for number in range(4)])()
    return pools.get().segments.usage()


@process
def nothing(number):
    return number


@process
def filled(number, count=MANY):
    return np.full(count, number, np.float32)


@process
def in_place(number, count=MANY):
    values = data.empty(count, np.float32)
    values.fill(number)
    return values


@process
def total(values):
    return float(values.sum())


@process
def same(values):
    return values


@process
def die(values, number=signal.SIGKILL):
    values[:10] = 1
    os.kill(os.getpid(), number)


@process
def die_half_way(count):
    values = data.empty(count, np.float32)
    values[: count // 2] = 1
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_consumer_that_dies_while_it_has_it_mapped():
    values = same(filled(3))()
    for _ in range(3):
        with pytest.raises(ProcessTerminatedException):
            die(values)()
    assert values.sum() == total(values)() == 3 * MANY
    del values
    until(lambda: usage()[0] == 0)


def test_a_producer_that_dies_half_way():
    for _ in range(3):
        with pytest.raises(ProcessTerminatedException):
            die_half_way(MANY)()
    until(lambda: usage()[0] == 0)
    assert total(in_place(5))() == 5 * MANY


def test_a_value_outlives_the_worker_that_made_it():
    @process(fresh=True)
    def made():
        values = data.empty(MANY, np.float32)
        values.fill(2)
        return values

    values = made()()
    assert values.sum() == total(values)() == 2 * MANY


@process
def keep(values):
    kept = sys.__dict__.setdefault("kept_arrays", [])
    for number, held in kept:
        assert (held == number).all(), (number, held[held != number][:5])
    kept.append((float(values[0]), values))
    return len(kept)


def test_a_kept_array_stays_as_it_was_while_a_thousand_others_pass():
    for number in range(4):
        keep(filled(number))()
    for begin in range(0, 1000, 50):
        gather(*[total(filled(begin + number)) for number in range(50)])()
    for number in range(4):
        keep(filled(number))()
    shutdown()  # with what the workers have kept


def test_views_of_views_keep_it():
    whole = filled(1)()
    part = whole.reshape(64, -1)[3:5, ::2]
    del whole
    gather(*[total(filled(number)) for number in range(20)])()
    assert (part == 1).all()
    del part
    until(lambda: usage()[0] == 0)


def test_a_child_of_the_caller_sees_what_it_saw():
    """What the caller lets go of after a fork is its child's still."""
    values = filled(7)()
    ask, answer = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.read(ask[0], 1)
            os.write(answer[1], b"y" if (values == 7).all() else b"n")
        finally:
            os._exit(0)
    del values
    gc.collect()
    for number in range(30):
        total(filled(number))()
    os.write(ask[1], b"x")
    assert os.read(answer[0], 1) == b"y"
    os.waitpid(pid, 0)
    for descriptor in (*ask, *answer):
        os.close(descriptor)


def test_a_forked_caller_has_a_pool_of_its_own():
    values = data.empty(MANY, np.float32)
    values[:] = 4
    assert total(values)() == 4 * MANY
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if total(values)() == total(same(values))() == 4 * MANY else 1
            shutdown()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert total(values)() == 4 * MANY


def test_children_of_a_task_see_what_it_saw():
    @process
    def parent(values):
        ask, answer = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            os.read(ask[0], 1)
            os.write(answer[1], b"y" if (values == 9).all() else b"n")
            os._exit(0)
        del values
        for number in range(10):
            total(filled(number))()
        os.write(ask[1], b"x")
        seen = os.read(answer[0], 1)
        os.waitpid(pid, 0)
        return seen

    for _ in range(3):
        assert parent(filled(9))() == b"y"
    until(lambda: usage()[0] == 0)


def test_a_child_that_a_task_leaves_sees_what_it_saw(tmp_path):
    """Its block is used again when it is gone, not when the task is."""

    @process
    def leave_a_watcher(values):
        child = os.fork()
        if not child:
            while (values == 9).all():
                time.sleep(0.001)
            (tmp_path / "spoiled").touch()
            os._exit(0)
        later = f"sleep 0.3; kill -CONT {os.getppid()}"
        os.spawnl(os.P_NOWAIT, "/bin/sh", "sh", "-c", later)
        os.kill(os.getppid(), signal.SIGSTOP)  # who would end the watcher
        return child

    gather(*[total(filled(number)) for number in range(8)])()
    for _ in range(3):
        child = leave_a_watcher(filled(9))()
        for number in range(10):
            total(filled(number))()
        assert gone(child)
    assert not (tmp_path / "spoiled").exists()


def test_what_a_child_can_write_to_is_not_sent_in_place():
    """A child that was forked from a task has the array that the task is making."""

    @process
    def parent():
        values = data.empty(MANY, np.float32)
        values.fill(1)
        read, write = os.pipe()
        if not os.fork():
            values.fill(66)
            os.write(write, b"x")
            signal.pause()
        os.read(read, 1)
        values.fill(1)
        return values

    for _ in range(3):
        assert total(parent())() == MANY


def test_values_outlive_the_pool():
    values = filled(5)()
    made = data.empty(MANY, np.float32)
    made[:] = 6
    shutdown()
    assert values.sum() == 5 * MANY
    assert made.sum() == 6 * MANY
    assert total(made)() == 6 * MANY
    shutdown()
    values[:] = 1
    made[:] = 2


def test_what_nobody_uses_is_given_back(monkeypatch):
    shutdown()
    monkeypatch.setenv("ENTANGLE_IDLE", "0.2")
    assert total(same(filled(1)))() == MANY
    segments = pools.get().segments
    until(lambda: segments.usage() == (0, 0, 0))
    until(lambda: not files_in_memory())
    shutdown()


def files_in_memory():
    """Return which of our files in memory this process has open or mapped."""
    names = [
        os.readlink(path)
        for path in Path("/proc/self/fd").iterdir()
        if path.is_symlink() and path.exists()
    ]
    found = [name for name in names if name == "/memfd:entangle (deleted)"]
    maps = Path("/proc/self/maps").read_text()
    return found + [
        line for line in maps.splitlines() if line.endswith("/memfd:entangle (deleted)")
    ]


def test_a_pipeline_keeps_a_handful_alive():
    @process
    def step(values):
        values[0] += 1
        return values

    node = filled(0, 1 << 20)
    for _ in range(200):
        node = step(node)
    most = 0
    future = node.submit()
    while not future.done():
        number, _, _ = pools.get().segments.usage()
        most = max(most, number)
        time.sleep(0.001)
    assert future.result()[0] == 200
    assert most <= 6


def test_ten_thousand_live_arrays():
    before = len(os.listdir("/proc/self/fd"))
    values = filled_many(10_000)()
    assert len(os.listdir("/proc/self/fd")) - before < 100
    assert [float(each[0]) for each in values[::999]] == list(range(0, 10_000, 999))
    one_by_one = gather(*[filled(number, 70_000) for number in range(500)])()
    assert [float(each[-1]) for each in one_by_one] == list(range(500))
    assert len(os.listdir("/proc/self/fd")) - before < 100


@process
def filled_many(count):
    return [np.full(1200, number, np.float32) for number in range(count)]


def run_program(text, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        env=os.environ | variables,
    )


def test_nothing_is_left_of_a_caller_that_is_killed():
    program = run_program(
        """
        import os, signal, sys
        import numpy as np
        from entangle import data
        from entangle.process import process

        @process(shared_memory=True)
        def hold(values, smm=None, sm=None):
            kept = smm.SharedMemory(1 << 20)
            print(os.getpid(), flush=True)
            signal.pause()

        made = data.empty(1 << 20)
        run = hold(made).submit()
        run.result()
        """
    )
    pid = int(program.stdout.readline())
    program.kill()
    program.wait()
    program.stdout.close()
    assert gone(pid)
    # There are no names that could be left; the memory is the processes' alone.
    assert not [name for name in os.listdir("/dev/shm") if "entangle" in name]


def test_at_exit_nothing_is_said():
    program = run_program(
        """
        import sys
        import numpy as np
        from entangle import data
        from entangle.process import process

        @process
        def made(count):
            sys.kept = data.empty(count, np.float32)
            return sys.kept

        one = made(1 << 20)()
        two = data.empty(1 << 20)
        three = one[5:]
        print("done")
        """
    )
    out, _ = program.communicate(timeout=30)
    assert program.returncode == 0
    assert out == b"done\n"


def test_a_caller_that_may_write_no_files(tmp_path):
    """RLIMIT_FSIZE holds for files in memory too: streams are used instead."""
    program = run_program(
        """
        import resource
        import numpy as np
        from entangle import data
        from entangle.process import process

        @process
        def made(count):
            return data.empty(count, np.float32)

        made(10)()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        assert made(1 << 20)().shape == (1 << 20,)
        assert data.empty(1 << 20).shape == (1 << 20,)
        print("done")
        """
    )
    out, _ = program.communicate(timeout=30)
    assert out == b"done\n"


def test_a_caller_without_descriptors_goes_on():
    program = run_program(
        """
        import os, resource
        import numpy as np
        from entangle.process import process

        @process
        def made(count):
            return np.ones(count, np.float32)

        @process
        def total(values):
            return float(values.sum())

        total(made(10))()
        low = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, low))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        assert total(made(1 << 20))() == 1 << 20
        for each in taken:
            os.close(each)
        print("done")
        """
    )
    out, _ = program.communicate(timeout=30)
    assert out == b"done\n"


# -- whatever happens in whatever order ------------------------------------------------


@process
def act(values, action):
    """Look at everything that this process has kept, then do something with a value."""
    kept = sys.__dict__.setdefault("kept_arrays", [])
    for number, held in kept:
        assert (held == number).all(), number
    number = float(values[0])
    assert (values == number).all()
    if action == "keep":
        kept.append((number, values[100:]))
    elif action == "spoil":
        values[:] = -1
        kept.append((-1.0, values))
    elif action == "forget":
        kept.clear()
    elif action == "fork":
        if not os.fork():
            signal.pause()
    elif action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "again":
        return values
    elif action == "changed":
        values += 1
        return values
    return None


class Arrays(RuleBasedStateMachine):
    """Nobody ever sees anything but what was sent."""

    @initialize()
    def begin(self):
        self.number = 0.0
        self.mine = []

    def look(self):
        for number, values in self.mine:
            assert (values == number).all(), number

    @rule(
        maker=st.sampled_from([filled, in_place]),
        action=st.sampled_from(["keep", "spoil", "forget", "fork", "die", "look"]),
        size=st.sampled_from([70_000, MANY, 5 * MANY]),
    )
    def pass_one(self, maker, action, size):
        self.number += 2
        node = act(maker(self.number, size), action)
        if action == "die":
            with pytest.raises(ProcessTerminatedException):
                node()
        else:
            node()
        self.look()

    @rule(
        maker=st.sampled_from([filled, in_place]),
        action=st.sampled_from(["again", "changed"]),
        keep=st.booleans(),
    )
    def take_one(self, maker, action, keep):
        self.number += 2
        values = act(maker(self.number), action)()
        expected = self.number + (action == "changed")
        assert (values == expected).all()
        if keep:
            self.mine.append((expected, values))
        self.look()

    @rule(place=st.booleans(), action=st.sampled_from(["keep", "spoil", "again"]))
    def give_one(self, place, action):
        self.number += 2
        make = data.empty if place else np.empty
        values = make(MANY, np.float32)
        values[:] = self.number
        gather(*[act(values, action) for _ in range(3)])()
        values += 1
        self.mine.append((self.number + 1, values))
        self.look()

    @rule()
    def drop_some(self):
        del self.mine[::2]

    @rule()
    def kill_a_worker(self):
        for pid in pool_pids()[1:2]:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: pid not in pool_pids())

    def teardown(self):
        self.mine = []


LONG = int(os.environ.get("ENTANGLE_MEMORY_SCHEDULES", "8"))

TestArrays = Arrays.TestCase
TestArrays.settings = settings(
    max_examples=LONG,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
