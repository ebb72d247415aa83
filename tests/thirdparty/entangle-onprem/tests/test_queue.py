"""What this executor does beyond the suite: spools of many, deaths, sweeping."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("entangle_onprem", reason="entangle-onprem is not installed")

from entangle_onprem import OnpremExecutor, SpoolError, onprem, survey

from entangle.errors import OptionError, ProcessTerminatedException
from entangle.testing import RecordedCall

SECONDS = 30.0


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)
    return found


def begun(executor, function, *args):
    """Give a call to an executor, and wait until it runs."""
    call = RecordedCall(function, *args)
    executor.start(call)
    until(call.has_started)
    return call


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def detached(path, seconds):
    """Start a process that is out of its parent's session, write its pid, go on."""
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(path + ".new", path)
            time.sleep(60)
        os._exit(0)
    os.wait()
    while not os.path.exists(path):
        time.sleep(0.001)
    time.sleep(seconds)


@pytest.fixture
def spool(tmp_path):
    """A spool of many, with its daemon."""
    folder = tmp_path / "spool"
    command = [sys.executable, "-m", "entangle_onprem.daemon", folder, "--slots", "1"]
    with subprocess.Popen(command) as daemon:
        until(lambda: survey.status(folder).daemon)
        yield folder, daemon
        daemon.terminate()
        assert daemon.wait(SECONDS) == 0


def test_options_are_checked_where_they_are_written():
    with pytest.raises(OptionError, match="slots must be at least 1"):
        onprem(slots=0)
    with pytest.raises(OptionError, match="host must be the path"):
        onprem(host="")
    with pytest.raises(OptionError, match="did you mean 'slots'"):
        onprem(slot=2)


def test_two_executors_share_a_spool(spool, tmp_path):
    folder, _ = spool
    gate = tmp_path / "gate"

    def wait(path):
        while not path.exists():
            time.sleep(0.005)

    with (
        OnpremExecutor(host=str(folder)) as one,
        OnpremExecutor(host=str(folder)) as two,
    ):
        first = begun(one, wait, gate)
        queued = two.submit(int, "7")
        given_up = two.submit(int, "8")
        until(lambda: survey.status(folder).waiting == 2)
        assert str(survey.status(folder)).endswith(
            "1 of 1 slots taken, 2 waiting, 2 clients"
        )
        assert given_up.cancel()
        gate.touch()
        assert queued.result(SECONDS) == 7
        assert first.end(SECONDS).kind == "succeeded"
    assert not list((folder / "clients").iterdir())


def test_a_spool_that_nobody_serves(tmp_path):
    with OnpremExecutor(host=str(tmp_path)) as executor:
        with pytest.raises(SpoolError, match="start one with"):
            executor.submit(int).result()


def test_a_call_that_waits_is_taken_back():
    with OnpremExecutor(slots=1) as executor:
        running = begun(executor, time.sleep, 60)
        waiting = RecordedCall(int)
        executor.start(waiting)
        executor.cancel(waiting, 1.0)
        assert waiting.end(SECONDS).detail == "already done"
        executor.cancel(running, 1.0)
        assert running.end(SECONDS).detail == "killed"


def test_nothing_outlives_its_job(tmp_path):
    path = str(tmp_path / "pid")
    with OnpremExecutor() as executor:
        executor.submit(detached, path, 0).result(SECONDS)
        assert not alive(int(Path(path).read_text()))
        os.unlink(path)
        call = begun(executor, detached, path, 60)
        until(lambda: os.path.exists(path))
        executor.cancel(call, 1.0)
        assert call.end(SECONDS).detail == "killed"
        assert not alive(int(Path(path).read_text()))


def test_the_death_of_the_daemon():
    with OnpremExecutor(slots=1) as executor:
        daemon = executor.submit(os.getppid).result(SECONDS)
        running = begun(executor, time.sleep, 60)
        waiting = executor.submit(int)
        os.kill(daemon, signal.SIGKILL)
        error = running.end(SECONDS).detail
        assert isinstance(error, ProcessTerminatedException)
        assert not alive(error.pid)
        with pytest.raises(SpoolError, match="before it ran int"):
            waiting.result(SECONDS)
        # The next call gets another.
        assert executor.submit(os.getppid).result(SECONDS) != daemon


def test_the_death_of_the_caller(tmp_path):
    """All that it has started ends with it, though nobody tells the daemon."""
    program = """
import os, sys, time
from entangle_onprem import OnpremExecutor

def work(path):
    with open(path + ".new", "w") as file:
        print(os.getpid(), os.getppid(), file=file)
    os.rename(path + ".new", path)
    time.sleep(60)

OnpremExecutor().submit(work, sys.argv[1]).result()
"""
    path = tmp_path / "pids"
    with subprocess.Popen([sys.executable, "-c", program, path]) as caller:
        until(path.exists)
        caller.kill()
    job, daemon = map(int, path.read_text().split())
    until(lambda: not alive(job) and not alive(daemon))
    until(lambda: not survey.private())


def test_shutdown_in_a_callback():
    executor = OnpremExecutor()
    future = executor.submit(int, "3")
    future.add_done_callback(lambda _: executor.shutdown())
    assert future.result(SECONDS) == 3
    executor.shutdown()


def test_what_is_swept(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert list(survey.leftovers(0)) == []
    with OnpremExecutor() as executor:
        folder, daemon = executor.submit(
            lambda: (os.environ.get("TMPDIR"), os.getppid())
        ).result(SECONDS)
        assert list(survey.leftovers(0)) == []
        (spool,) = survey.private()
        client = next((spool / "clients").iterdir())
        assert str(survey.status(spool)).startswith(f"daemon {daemon}, 0 of 2 slots")
        # As if the machine had been switched off: nobody of that name is alive.
        left = tmp_path / f"{spool.name}-left"
        (left / "clients" / client.name).mkdir(parents=True)
        owner = '{"pid": 1, "started": -1, "slots": 2}'
        (left / "clients" / client.name / "owner").write_text(owner)
        (leftover,) = survey.leftovers(0)
        assert (leftover.kind, leftover.name) == ("spool", str(left))
        assert list(survey.leftovers(3600)) == []
        leftover.remove()
        assert not left.exists()
    with contextlib.suppress(StopIteration):
        next(survey.leftovers(0))
        pytest.fail("something is left")
