"""A process becomes a worker, and stays one whatever is done to it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import types

import pytest
from worker_kit import PAGE, Caller, double

from entangle._worker import frames, guarded
from entangle._worker import main as worker


def test_descriptors_move_out_of_reach():
    read, write = os.pipe()
    high = guarded.out_of_reach(read)
    try:
        assert high >= 48
        os.write(write, b"x")
        assert os.read(high, 1) == b"x"
        assert not os.get_inheritable(high)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(read)
    finally:
        os.close(high)
        os.close(write)


def test_descriptors_stay_where_no_higher_one_may_be_had(monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(guarded.fcntl, "fcntl", refuse)
    assert guarded.out_of_reach(7) == 7


BECOME = """
import os, socket, sys, pickle
sys.path[:] = {path!r}
from entangle._worker import main
{before}
print("before, unflushed", end="")
sys.stdout.flush()
main.become({overrides!r}, {descriptors!r})
"""


@contextlib.contextmanager
def fresh_worker(overrides=None, before=""):
    """Start a process that becomes a worker of this one."""
    ours, theirs = socket.socketpair()
    out, out_write = os.pipe()
    page = os.memfd_create("page")
    os.ftruncate(page, PAGE)
    tokens, grants = os.pipe2(os.O_NONBLOCK)
    given = (theirs.fileno(), out_write, os.dup(out_write), page, tokens)
    program = BECOME.format(
        overrides=overrides or {}, descriptors=given, before=before, path=sys.path
    )
    process = subprocess.Popen([sys.executable, "-c", program], pass_fds=given)
    theirs.close()
    for descriptor in given[1:]:
        os.close(descriptor)
    caller = types.SimpleNamespace(
        sock=ours,
        reader=frames.FrameReader(),
        frames=[],
        values=[],
        functions=0,
        number=0,
    )
    for name in ("send", "receive", "function", "call", "answer", "value"):
        setattr(caller, name, types.MethodType(getattr(Caller, name), caller))
    caller.process, caller.out = process, out
    try:
        with ours:
            yield caller
    finally:
        process.wait(10)
        os.close(out)
        os.close(grants)


@pytest.mark.process
def test_a_process_becomes_a_worker():
    def body():
        import os
        import sys

        print("to stdout")
        print("to stderr", file=sys.stderr)
        return os.read(0, 10)

    with fresh_worker({"nice": 1}, "import numpy.random") as caller:
        assert caller.value(body) == b""
        caller.send(frames.EXIT)
        assert caller.process.wait(10) == 0
        assert os.read(caller.out, 1000) == b"to stdout\nto stderr\n"


@pytest.mark.process
def test_a_worker_ends_with_its_stream():
    with fresh_worker(
        before="sys.stdout = sys.__stdout__; sys.stderr = None"
    ) as caller:
        caller.sock.close()
        assert caller.process.wait(10) == 0


@pytest.mark.process
def test_a_worker_ends_when_its_stream_is_damaged():
    with fresh_worker() as caller:
        caller.sock.sendall(b"these are no frames at all")
        assert caller.process.wait(10) == worker.BROKEN_STREAM


@pytest.mark.process
def test_processors_that_do_not_exist_are_told_by_the_call():
    with fresh_worker({"cpus": (100_000,)}) as caller:
        assert isinstance(caller.value(double, 1), OSError)


@pytest.mark.process
@pytest.mark.parametrize(
    ("ending", "status"),
    [("sys.exit(3)", 3), ("return", 0), ("1 / 0", 1), ("os._exit(4)", 4)],
)
def test_a_child_that_a_body_forks_ends_as_in_any_program(ending, status):
    names = {}
    code = (
        "def body():\n"
        "    import os, sys\n"
        "    pid = os.fork()\n"
        f"    if not pid:\n        {ending}\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
    )
    exec(code, names)
    with fresh_worker() as caller:
        assert caller.value(names["body"]) == status
        assert caller.value(double, 2) == 4


@pytest.mark.process
def test_a_signal_handler_that_raises_while_a_body_runs_fails_the_call():
    def body():
        import signal
        import time

        def handler(number, frame):
            raise RuntimeError("in time")

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        time.sleep(10)

    with fresh_worker() as caller:
        assert repr(caller.value(body)) == "RuntimeError('in time')"
        assert caller.value(double, 2) == 4


@pytest.mark.process
def test_an_interrupt_ends_an_idle_worker():
    with fresh_worker() as caller:
        os.kill(caller.process.pid, signal.SIGINT)
        assert caller.process.wait(10) != 0
