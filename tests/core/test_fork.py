"""Forks: of tasks, which leave nothing behind, and of the caller, which harm nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest
from life_kit import SOON, alive, gone, output_of, pool_pids, read_pid, until, within

from entangle.process import process
from entangle.task import gather, shutdown
from entangle.thread import thread

pytestmark = pytest.mark.process


@process
def double(number):
    return 2 * number


@process
def own_pid():
    return os.getpid()


def linger():
    while True:
        signal.pause()


# -- of tasks


@process
def leave_child():
    pid = os.fork()
    if not pid:
        linger()
    return pid


@process
def leave_session():
    pid = os.fork()
    if not pid:
        os.setsid()
        linger()
    return pid


@process
def leave_daemon(path):
    """Fork twice, with a session of its own, as daemons do."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            path.write_text(str(os.getpid()))
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(null, descriptor)
            linger()
        os._exit(0)
    return read_pid(path)


@process
def leave_program():
    program = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    child.returncode = 0  # it is left on purpose
    return child.pid


@pytest.mark.parametrize("leave", [leave_child, leave_session, leave_program])
def test_a_child_that_a_task_left_is_gone_after_the_call(leave):
    with within():
        pid = leave()()
    assert gone(pid)
    assert double(4)() == 8


def test_a_daemon_that_a_task_left_is_gone_after_the_call(tmp_path):
    with within():
        pid = leave_daemon(tmp_path / "pid")()
    assert gone(pid)
    assert double(4)() == 8


def test_many_calls_that_leave_children():
    with within(10):
        pids = gather(*[leave_child() for _ in range(20)])()
    assert gone(*pids)


def test_a_child_that_was_waited_for_costs_no_worker():
    @process
    def fork_and_wait():
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.001)
        return os.getpid()

    pids = {fork_and_wait()() for _ in range(10)}
    assert len(pids) <= 2


def test_a_zombie_that_a_task_left_is_reaped():
    @process
    def leave_zombie():
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    for _ in range(3):
        pid = leave_zombie()()
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


def test_a_forked_child_that_returns_from_the_body_answers_nothing():
    @process
    def fork_and_return():
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return "parent"
        return "child"

    for _ in range(3):
        with within():
            assert fork_and_return()() == "parent"
    assert double(4)() == 8


def test_a_forked_child_that_raises_answers_nothing():
    @process
    def fork_and_raise():
        pid = os.fork()
        if pid:
            _, status = os.waitpid(pid, 0)
            return status
        raise RuntimeError("in the child")

    with within():
        assert isinstance(fork_and_raise()(), int)
    assert double(4)() == 8


def test_a_forked_child_that_outlives_the_call_and_then_returns():
    @process
    def fork_and_return_late():
        pid = os.fork()
        if pid:
            return pid
        time.sleep(0.05)
        return "child"

    pids = [fork_and_return_late()() for _ in range(5)]
    assert gone(*pids)
    assert double(4)() == 8


def test_a_forked_child_cannot_run_graphs_as_the_worker(tmp_path):
    @process
    def fork_and_run(path):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return path.read_text()
        try:
            text = str(double(21)())
        except BaseException as error:
            text = type(error).__name__
        path.write_text(text)
        os._exit(0)

    assert fork_and_run(tmp_path / "text")() == "42"
    assert double(4)() == 8


def test_multiprocessing_inside_a_task():
    @process
    def spread():
        import multiprocessing

        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            return pool.map(abs, range(-5, 0))

    assert spread()() == [5, 4, 3, 2, 1]
    assert double(4)() == 8


# -- of the caller

HEADER = """
import os, signal, sys, threading
from entangle.process import process
from entangle.thread import thread
from entangle.task import shutdown
@process
def double(number): return 2 * number
@process
def own_pid(): return os.getpid()
def child_says(body):
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        try:
            text = repr(body())
        except Exception as error:
            text = repr(error)
        with open(write, "w") as file: file.write(text)
        sys.exit(0)
    os.close(write)
    with open(read) as file: text = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return text
"""


def test_a_forked_caller_runs_graphs_of_its_own():
    out = output_of(
        HEADER
        + """
before = own_pid()()
def body():
    return double(4)(), own_pid()()
values = eval(child_says(body))
assert values[0] == 8, values
assert values[1] != before
assert double(5)() == 10
assert own_pid()() == before
print("fine")
"""
    )
    assert out == "fine\n"


def test_a_forked_caller_leaves_the_workers_of_its_parent_alone():
    out = output_of(
        HEADER
        + """
before = own_pid()()
for leave in (lambda: None, shutdown, lambda: sys.exit(0)):
    pid = os.fork()
    if not pid:
        leave()
        raise SystemExit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert own_pid()() == before
print("fine")
"""
    )
    assert out == "fine\n"


def test_a_fork_while_a_run_is_under_way(tmp_path):
    out = output_of(
        HEADER
        + """
@process
def wait(path):
    with open(path) as file: return file.read()
path = sys.argv[1]
os.mkfifo(path)
future = wait(path).submit()
assert child_says(lambda: double(4)()) == "8"
with open(path, "w") as file: file.write("late")
assert future.result(5) == "late"
os.unlink(path)
print("fine")
""",
        tmp_path / "fifo",
    )
    assert out == "fine\n"


def test_a_fork_in_a_thread_task():
    out = output_of(
        HEADER
        + """
@thread
def fork():
    pid = os.fork()
    if not pid:
        os._exit(double(4)())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
double(1)()
print(fork()())
"""
    )
    assert out == "8\n"


def test_the_workers_of_a_forked_caller_end_with_it():
    out = output_of(
        HEADER
        + """
import time
double(1)()
pid = int(child_says(lambda: own_pid()()))
deadline = time.monotonic() + 3
while os.path.exists(f"/proc/{pid}"):
    assert time.monotonic() < deadline
    time.sleep(0.01)
print("fine")
"""
    )
    assert out == "fine\n"


def test_the_fork_of_a_fork():
    out = output_of(
        HEADER
        + """
double(1)()
def deep(level):
    if level == 0:
        return double(21)()
    double(level)()
    return eval(child_says(lambda: deep(level - 1)))
print(deep(3), flush=True)
"""
    )
    assert out == "42\n"


def test_a_forked_caller_keeps_descriptors_that_took_old_numbers():
    """Finalizers of the parent's pool close nothing that the child has opened."""
    out = output_of(
        HEADER
        + """
import gc
double.map(range(4))()
def body():
    pairs = [os.pipe() for _ in range(20)]
    gc.collect()
    for pair in pairs:
        for descriptor in pair: os.fstat(descriptor)
    return double(4)()
print(child_says(body))
"""
    )
    assert out == "8\n"


def test_multiprocessing_forks_a_caller_with_workers():
    out = output_of(
        HEADER
        + """
import multiprocessing
def twice(number): return double(number)()
double(1)()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(twice, range(5)))
print(double(8)())
"""
    )
    assert out == "[0, 2, 4, 6, 8]\n16\n"


def test_a_fork_while_other_threads_run_graphs():
    out = output_of(
        HEADER
        + """
stop = threading.Event()
def busy():
    while not stop.is_set():
        assert double.map(range(20))() == [*range(0, 40, 2)]
double(1)()
threads = [threading.Thread(target=busy) for _ in range(2)]
for t in threads: t.start()
for _ in range(5):
    assert child_says(lambda: double(4)()) == "8"
stop.set()
for t in threads: t.join()
print("fine")
"""
    )
    assert out == "fine\n"


def test_a_forked_child_closes_the_descriptors_of_the_pool():
    assert double.map(range(4))() == [0, 2, 4, 6]
    workers = pool_pids()
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            left = [
                target
                for target in map(
                    os.readlink,
                    [
                        f"/proc/self/fd/{name}"
                        for name in os.listdir("/proc/self/fd")
                        if os.path.lexists(f"/proc/self/fd/{name}")
                    ],
                )
                if "pidfd" in target or "eventpoll" in target
            ]
            os.write(write, repr(left).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as file:
        assert file.read() == "[]"
    os.waitpid(pid, 0)
    assert all(map(alive, workers))
    shutdown()
    assert gone(*workers, seconds=SOON)
    assert thread(abs)(-1)() == 1
