"""A worker that dies fails one call, at once, and nothing else."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from life_kit import SOON, alive, cgroup, gone, pool_pids, until, within, zygote_pid

from entangle.errors import (
    ProcessTerminatedException,
    ProcessTimeoutException,
    WorkerStartError,
)
from entangle.process import process
from entangle.task import gather

pytestmark = pytest.mark.process


@process
def double(number):
    return 2 * number


@process
def kill(number):
    os.kill(os.getpid(), number)


@process
def leave(code):
    os._exit(code)


@process
def crash():
    ctypes.string_at(0)


@process
def swallow(limit):
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return len(bytearray(limit * 2))


@process
def stay(path, *, children=0, ready=""):
    pids = [os.getpid()]
    for _ in range(children):
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            start_new_session=True,
        )
        pids.append(child.pid)
    path.write_text(" ".join(map(str, pids)))
    signal.pause()


def pids_in(path):
    return [
        int(pid) for pid in until(lambda: path.exists() and path.read_text()).split()
    ]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGUSR1]
)
def test_a_signal_that_ends_the_worker_is_named(number):
    assert double(1)() == 2
    with within(), pytest.raises(ProcessTerminatedException) as caught:
        kill(number)()
    error = caught.value
    assert error.signal == number
    assert error.exit_code is None
    assert error.node == "kill"
    assert not error.out_of_memory
    assert error.pid not in {0, os.getpid()}
    assert signal.Signals(number).name in str(error)
    assert gone(error.pid)
    with within():
        assert double(2)() == 4


@process
def kill_behind_a_stopped_parent():
    parent = os.getppid()
    later = f"sleep 0.2; kill -CONT {parent}"
    os.spawnl(os.P_NOWAIT, "/bin/sh", "sh", "-c", later)
    os.kill(parent, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_death_that_is_reported_late_is_still_that_death():
    # Its connection ends long before anybody says why.
    assert double(1)() == 2
    with within(), pytest.raises(ProcessTerminatedException) as caught:
        kill_behind_a_stopped_parent()()
    assert caught.value.signal == signal.SIGKILL
    assert double(2)() == 4


@pytest.mark.parametrize("code", [0, 3, 255])
def test_leaving_the_process_is_no_return(code):
    assert double(1)() == 2
    with within(), pytest.raises(ProcessTerminatedException) as caught:
        leave(code)()
    assert caught.value.exit_code == code
    assert caught.value.signal is None
    assert f"exited with code {code}" in str(caught.value)
    assert double(2)() == 4


def test_a_crash_in_native_code_is_a_death():
    with within(), pytest.raises(ProcessTerminatedException) as caught:
        crash()()
    assert caught.value.signal == signal.SIGSEGV
    assert double(2)() == 4


def test_running_out_of_memory_is_a_memory_error():
    with within(), pytest.raises(MemoryError):
        swallow(1 << 30)()
    assert double(2)() == 4


def test_a_death_fails_no_other_call():
    nodes = [double(n) for n in range(50)]
    nodes[10:10] = [kill(signal.SIGKILL)]
    nodes[30:30] = [leave(1)]
    with within(2 * SOON):
        values = gather(*nodes, return_exceptions=True)()
    deaths = [v for v in values if isinstance(v, ProcessTerminatedException)]
    assert [death.node for death in deaths] == ["kill", "leave"]
    assert [v for v in values if isinstance(v, int)] == [2 * n for n in range(50)]


def test_a_death_among_calls_queued_in_one_worker():
    @process
    def maybe(number):
        if number % 500 == 250:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    assert maybe.map(range(200))() == [*range(200)]  # known to be tiny from now on
    values = gather(*map(maybe, range(2000)), return_exceptions=True)()
    for number, value in enumerate(values):
        if number % 500 == 250:
            assert isinstance(value, ProcessTerminatedException)
        else:
            assert value == number


def test_a_death_is_retried(tmp_path):
    @process(retry=2)
    def third(folder):
        (folder / str(len([*folder.iterdir()]))).touch()
        if len([*folder.iterdir()]) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "third"

    assert third(tmp_path)() == "third"


def test_a_killed_idle_worker_is_replaced():
    assert double.map(range(8))() == [*range(0, 16, 2)]
    workers = pool_pids()[1:]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    with within():
        assert double.map(range(8))() == [*range(0, 16, 2)]
    assert gone(*workers)
    assert not {*workers} & {*pool_pids()}


def test_a_stopped_worker_is_timed_out():
    @process(timeout=0.3)
    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)

    with within(), pytest.raises(ProcessTimeoutException) as caught:
        stop()()
    assert caught.value.phase == "body"
    assert double(1)() == 2


def test_one_that_ignores_sigterm_is_timed_out():
    @process(timeout=0.3)
    def stubborn():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            signal.pause()

    with within(), pytest.raises(ProcessTimeoutException):
        stubborn()()
    assert double(1)() == 2


def test_a_timeout_ends_grandchildren(tmp_path):
    path = tmp_path / "pids"

    @process(timeout=0.7)
    def parent(path):
        stay.fn(path, children=2)

    with within(3.0), pytest.raises(ProcessTimeoutException):
        parent(path)()
    pids = pids_in(path)
    assert len(pids) == 3
    # The error is raised when all of them are gone, not before.
    assert not any(map(alive, pids))


def test_a_timeout_ends_grandchildren_that_ignore_signals(tmp_path):
    path = tmp_path / "pids"

    @process(timeout=0.7)
    def parent(path):
        pid = os.fork()
        if not pid:
            os.setsid()
            for number in range(1, 32):
                if number not in {signal.SIGKILL, signal.SIGSTOP}:
                    signal.signal(number, signal.SIG_IGN)
            while True:
                signal.pause()
        path.write_text(f"{os.getpid()} {pid}")
        signal.pause()

    with within(3.0), pytest.raises(ProcessTimeoutException):
        parent(path)()
    assert not any(map(alive, pids_in(path)))


def test_a_killed_zygote_fails_what_has_started(tmp_path):
    assert double.map(range(8))() == [*range(0, 16, 2)]
    zygote = zygote_pid()
    paths = [tmp_path / "first", tmp_path / "second"]
    futures = [stay(path).submit() for path in paths]
    # More than there are processors for: these have not begun.
    waiting = double.map(range(10)).submit()
    first = pids_in(paths[0])
    workers = len([path for path in paths if path.exists()])
    if len(pool_pids()) > 2:
        pids_in(paths[1])
        workers = 2
    started = [path for path in paths if path.exists()]
    assert len(started) == workers
    pids = [pid for path in started for pid in pids_in(path)]
    assert first[0] in pids
    with within(3.0):
        os.kill(zygote, signal.SIGKILL)
        for future, path in zip(futures, paths, strict=True):
            if path in started:
                error = future.exception()
                assert isinstance(error, ProcessTerminatedException)
                assert error.signal == signal.SIGKILL
                assert "the process that starts the workers" in str(error)
        assert waiting.result(5) == [*range(0, 20, 2)]
    assert gone(zygote, *pids)
    for future in futures:
        future.cancel()
    assert zygote_pid() != zygote
    assert double(1)() == 2


def test_a_killed_zygote_takes_along_what_tasks_started(tmp_path):
    path = tmp_path / "pids"
    future = stay(path, children=2).submit()
    pids = pids_in(path)
    os.kill(zygote_pid(), signal.SIGKILL)
    try:
        assert isinstance(future.exception(5), ProcessTerminatedException)
        assert gone(*pids)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_a_zygote_killed_while_idle_is_replaced():
    assert double(1)() == 2
    before = pool_pids()
    os.kill(before[0], signal.SIGKILL)
    with within(3.0):
        assert double(1)() == 2
    assert gone(*before)
    until(lambda: not Path(f"/proc/{before[0]}").exists())


def test_a_zygote_that_is_killed_again_and_again():
    for _ in range(5):
        future = double.map(range(100)).submit()
        if pool_pids():
            killed = zygote_pid()
            os.kill(killed, signal.SIGKILL)
        error = future.exception(10)
        # The new one may be killed while its interpreter starts.
        deaths = ProcessTerminatedException, WorkerStartError
        assert error is None or isinstance(error, deaths)
    # Or else its workers, which die with it, are given the next calls.
    assert gone(killed)
    assert double(1)() == 2


def test_a_stopped_worker_ends_with_the_pool(tmp_path):
    from entangle.task import shutdown

    path = tmp_path / "pids"
    future = stay(path, children=1).submit()
    pids = pids_in(path)
    os.kill(pids[0], signal.SIGSTOP)
    with within(5.0):
        shutdown()
    assert not any(map(alive, pids))
    assert future.cancelled()
    assert double(1)() == 2


def test_a_control_group_that_runs_out_of_memory_is_told():
    @process
    def hog(members):
        Path(members).write_text(str(os.getpid()))
        return len(bytearray(b"x") * (256 << 20))

    limits = {"limit_in_bytes": 64 << 20, "max": 64 << 20, "swap.max": 0}
    with (
        cgroup("memory", **limits) as members,
        pytest.raises(ProcessTerminatedException) as caught,
    ):
        hog(str(members))()
    assert caught.value.out_of_memory
    assert "memory ran out" in str(caught.value)
    assert double(1)() == 2


def test_a_zygote_that_dies_while_nothing_runs_is_reaped():
    """Without a run that would look for it."""
    assert double(1)() == 2
    pid = zygote_pid()
    os.kill(pid, signal.SIGKILL)
    # Not even as a zombie.
    until(lambda: not os.path.exists(f"/proc/{pid}"), SOON)
    until(lambda: not pool_pids(), SOON)
    assert double(2)() == 4


def test_calls_that_are_kept_back_are_not_lost(monkeypatch, tmp_path):
    """Attempts that nobody confirms the end of are followed by others all the same."""
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.2)
    mark = tmp_path / "mark"

    @process(timeout=0.3, retry=1)
    def slow(number):
        if not number and not mark.exists():
            mark.touch()
            time.sleep(60)
        return number

    assert double(1)() == 2
    zygote = zygote_pid()
    future = slow.map(range(700)).submit()
    until(mark.exists)
    os.kill(zygote, signal.SIGSTOP)
    try:
        # The timeout, and the patience with whoever should end the call.
        time.sleep(1.0)
    finally:
        os.kill(zygote, signal.SIGCONT)
    assert future.result(60) == [*range(700)]


def test_arguments_that_take_time_to_send():
    """A caller that waits for the answer goes on sending meanwhile."""
    task = process(len)
    for _ in range(50):
        assert task(b"x")() == 1
    big = bytes(4_000_000)
    with within(5.0):
        for _ in range(20):
            assert task(big)() == len(big)
