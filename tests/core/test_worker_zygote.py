"""The zygote forks, ends and reaps workers, and leaves nothing when it ends."""

import contextlib
import errno
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from worker_kit import WITHIN, running, until, values

from entangle._worker import brood, codec, context, failures, frames, functions, zygote
from entangle._worker import main as worker

# -- the real thing

BOOT = """
import sys
from entangle._worker import zygote
{before}
zygote.main({control}, {caller}, {path!r}, {modules!r}, {later!r})
"""


class Worker:
    """What the caller holds of one worker."""

    def __init__(self, number):
        self.number = number
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(WITHIN)
        page = os.memfd_create("page")
        os.ftruncate(page, 4096)
        tokens, self.grants = os.pipe2(os.O_NONBLOCK)
        self.given = [theirs.detach(), os.dup(2), os.dup(2), page, tokens]
        self.reader = frames.FrameReader()
        self.frames = []
        self.pid = 0

    def receive(self):
        while not self.frames:
            self.frames = self.reader.read(self.sock.recv_into)
        return self.frames.pop(0)

    def call(self, fn, *args):
        """Run one call and return its plain value."""
        self.begin(fn, *args)
        frame = self.receive()
        assert frame.kind == frames.VALUES, failures.decode_failure(frame.body[16:])
        ((_, _, value),) = values(frame.body)
        return value

    def begin(self, fn, *args):
        data = worker.NUMBER.pack(1) + functions.encode_function(fn)
        frames.send(self.sock, frames.pack(frames.FUNCTION, data))
        body = pickle.dumps([(1, 1, args, None, 0)])
        frames.send(self.sock, frames.pack(frames.CALLS, body))

    def close(self):
        self.sock.close()
        for descriptor in (*self.given, self.grants):
            os.close(descriptor)


class Caller:
    """The caller's side of one zygote."""

    def __init__(self, before="", modules=(), caller=None, later=()):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(WITHIN)
        boot = BOOT.format(
            before=textwrap.dedent(before),
            control=theirs.fileno(),
            caller=caller or os.getpid(),
            path=sys.path,
            modules=modules,
            later=later,
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", boot],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        theirs.close()
        self.workers = []

    def report(self):
        return zygote.receive(self.control)[0]

    def ask(self, *message, descriptors=()):
        zygote.send(self.control, message, descriptors)

    def request(self, settings=None):
        """Ask for a worker; the report is still to come."""
        made = Worker(len(self.workers) + 1)
        self.workers.append(made)
        self.ask(zygote.FORK, made.number, settings or {}, descriptors=made.given)
        for descriptor in made.given:
            os.close(descriptor)
        made.given = ()
        return made

    def fork(self, settings=None):
        made = self.request(settings)
        kind, number, made.pid = self.report()
        assert (kind, number) == (zygote.FORKED, made.number)
        return made

    def ended(self):
        """Tell whether the zygote has ended in time, and how."""
        return self.process.wait(WITHIN)

    def close(self):
        self.control.close()
        for made in self.workers:
            made.close()
        try:
            self.process.wait(WITHIN)
        finally:
            self.process.kill()
            self.said = self.process.stderr.read()
            self.process.stderr.close()
            self.process.wait()


@contextlib.contextmanager
def zygote_with(**settings):
    made = Caller(**settings)
    try:
        assert made.report() == (zygote.READY, made.process.pid)
        yield made
    finally:
        made.close()


@pytest.fixture
def caller():
    with zygote_with() as made:
        yield made


def double(number):
    return 2 * number


def stay():

    time.sleep(600)


def leave_orphans(count):
    """Start processes in sessions of their own, and their children; die."""
    import os

    pids = []
    for _ in range(count):
        read, write = os.pipe()
        if not os.fork():
            os.setsid()
            inner = os.fork()
            if inner:
                os.write(write, b"%d %d " % (os.getpid(), inner))
            time.sleep(600)
        pids += map(int, os.read(read, 100).split())
    return tuple(pids)


pytestmark = pytest.mark.process


def test_a_worker_is_forked_runs_calls_and_ends_with_its_stream(caller):
    made = caller.fork()
    assert made.pid != caller.process.pid
    assert made.call(double, 4) == 8
    assert made.call(os.getpid) == made.pid
    assert made.call(os.getppid) == caller.process.pid
    made.sock.close()
    assert caller.report() == (zygote.DIED, made.number, 0)


def test_workers_are_lean(caller):
    """What a worker needs is imported before it is forked."""
    made = caller.fork()
    names = made.call(eval, "' '.join(__import__('sys').modules)")
    bare = subprocess.check_output(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], text=True
    )
    left_out = {"threading", "signal", "socket", "asyncio", "typing", "pathlib"}
    assert not left_out & (set(names.split()) - set(bare.split()))
    assert {"fcntl", "mmap"} <= set(names.split())


def test_workers_hold_no_descriptors_of_others(caller):
    caller.fork()

    def held():
        import os

        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                continue
        return " ".join(found)

    links = caller.fork().call(held).split()
    # One socket, one pipe for the tokens: the standard ones may be anything.
    assert sum(link.startswith("socket:") for link in links) == 1
    assert not any("pidfd" in link for link in links)


def test_a_killed_worker_is_reported_with_its_status(caller):
    first, second = caller.fork(), caller.fork()
    first.begin(stay)
    caller.ask(zygote.KILL, first.number)
    assert caller.report() == (zygote.DIED, first.number, signal.SIGKILL)
    caller.ask(zygote.KILL, first.number)
    caller.ask(zygote.KILL, 999)
    assert second.call(double, 1) == 2


def test_a_worker_that_dies_by_itself_is_reported(caller):
    made = caller.fork()
    made.begin(lambda: __import__("os")._exit(9))
    kind, number, status = caller.report()
    assert (kind, number) == (zygote.DIED, made.number)
    assert os.waitstatus_to_exitcode(status) == 9


def test_what_a_dead_worker_left_behind_is_gone_before_its_death_is_told(caller):
    made = caller.fork()
    pids = made.call(leave_orphans, 3)
    assert len(pids) == 6
    assert all(map(running, pids))
    caller.ask(zygote.KILL, made.number)
    assert caller.report()[:2] == (zygote.DIED, made.number)
    assert not any(map(running, pids))


@pytest.mark.parametrize("how", ["exit", "close", "sigterm", "sighup"])
def test_everything_ends_with_the_zygote(caller, how):
    idle, busy = caller.fork(), caller.fork()
    pids = busy.call(leave_orphans, 1)
    busy.begin(stay)
    if how == "exit":
        caller.ask(zygote.EXIT)
    elif how == "close":
        caller.control.close()
    else:
        caller.process.send_signal(getattr(signal, how.upper()))
    assert caller.ended() == 0
    assert not any(map(running, (idle.pid, busy.pid, *pids)))


def test_a_killed_zygote_takes_its_workers_along(caller):
    made = caller.fork()
    caller.process.kill()
    assert made.sock.recv(1) == b""
    until(lambda: not running(made.pid))


def test_an_interrupt_is_not_for_the_zygote(caller):
    caller.process.send_signal(signal.SIGINT)
    assert caller.fork().call(double, 2) == 4


def test_a_zygote_that_leaves_forks_no_more(caller):
    made = caller.fork()
    os.kill(made.pid, signal.SIGSTOP)
    caller.process.send_signal(signal.SIGSTOP)
    caller.ask(zygote.EXIT)
    late = caller.request()
    caller.process.send_signal(signal.SIGCONT)
    assert caller.ended() == 0
    assert late.sock.recv(1) == b""


def test_nonsense_from_the_caller_ends_it(caller):
    made = caller.fork()
    caller.control.send(b"no pickle")
    assert caller.ended() == 0
    assert not running(made.pid)


def test_lost_descriptors_refuse_a_fork(caller):
    null = os.open(os.devnull, os.O_RDONLY)
    many = [null] * (zygote.MOST_DESCRIPTORS + 1)
    caller.ask(zygote.FORK, 5, {}, descriptors=many)
    os.close(null)
    assert caller.report() == (zygote.REFUSED, 5, errno.EMFILE)
    assert caller.fork().call(double, 1) == 2


FORKLESS = """
import errno, os
def refuse(fork=os.fork, left=[2]):
    if left[0]:
        left[0] -= 1
        raise OSError(errno.EAGAIN if left[0] else 0, "no")
    return fork()
os.fork = refuse
"""


def test_a_refused_fork_is_reported_and_the_next_may_succeed():
    with zygote_with(before=FORKLESS) as caller:
        assert caller.request() is not None
        assert caller.report() == (zygote.REFUSED, 1, errno.EAGAIN)
        refused = caller.request()
        assert caller.report()[:2] == (zygote.REFUSED, 2)
        assert refused.sock.recv(1) == b""
        assert caller.fork().call(double, 1) == 2


def test_a_worker_that_cannot_begin_says_why():
    before = "from entangle._worker import main\nmain.become = lambda *_: 1 / 0"
    with zygote_with(before=before) as caller:
        caller.request()
        assert caller.report()[0] == zygote.FORKED
        kind, _, status = caller.report()
        assert kind == zygote.DIED
        assert os.waitstatus_to_exitcode(status) == brood.CRASHED
    assert b"ZeroDivisionError" in caller.said


def test_a_worker_that_cannot_even_say_why():
    before = "from entangle._worker import main\nmain.become = lambda *_: 1 / 0\nsys.stderr = 5"
    with zygote_with(before=before) as caller:
        caller.request()
        assert caller.report()[0] == zygote.FORKED
        assert os.waitstatus_to_exitcode(caller.report()[2]) == brood.CRASHED


def test_a_worker_whose_zygote_is_gone_does_not_begin():
    before = """
    import os
    os.getppid, found = (lambda: found.pop() if found else 1), [os.getppid()]
    """
    with zygote_with(before=before) as caller:
        made = caller.request()
        assert caller.report()[0] == zygote.FORKED
        assert caller.report() == (zygote.DIED, 1, 0)
        assert made.sock.recv(1) == b""


def test_modules_are_imported_for_workers_forked_later(tmp_path):
    (tmp_path / "noisy_module.py").write_text("print('imported')")
    with zygote_with(modules=("wave",), before=f"sys.path.append({str(tmp_path)!r})"):
        pass
    with zygote_with(modules=("wave", "no_such_module")) as caller:
        assert caller.fork().call(lambda: "wave" in __import__("sys").modules)
        early = caller.fork()
        caller.ask(zygote.IMPORT, ("colorsys",))
        late = caller.fork()
        loaded = [
            made.call(lambda: "colorsys" in __import__("sys").modules)
            for made in (early, late)
        ]
        assert loaded == [False, True]


def test_what_modules_print_is_not_printed_by_each_worker(tmp_path, monkeypatch):
    (tmp_path / "noisy_module.py").write_text("print('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with zygote_with(modules=("noisy_module",)) as caller:
        made = Worker(1)
        read, write = os.pipe()
        os.close(made.given[1])
        made.given[1] = write
        caller.workers.append(made)
        caller.ask(zygote.FORK, 1, {}, descriptors=made.given)
        for descriptor in made.given:
            os.close(descriptor)
        made.given = ()
        assert caller.report()[0] == zygote.FORKED
        made.call(lambda: print("mine"))
        assert os.read(read, 100) == b"mine\n"
        os.close(read)


def test_a_caller_that_does_not_read_holds_nothing_up():
    """Reports wait without blocking: EXIT is obeyed though the socket is full."""
    before = """
    import _socket
    class Small(_socket.socket):
        __slots__ = ()
        def __init__(self, **given):
            super().__init__(**given)
            self.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)
    zygote._socket.socket = Small
    """
    with zygote_with(before=before) as caller:
        made = [caller.request() for _ in range(12)]
        for one in made:
            assert one.call(double, one.number) == 2 * one.number
        reports = [caller.report() for _ in made]
        assert [number for _, number, _ in reports] == list(range(1, 13))
        for one in made:
            caller.ask(zygote.KILL, one.number)
        until(lambda: not any(running(pid) for _, _, pid in reports))
        caller.ask(zygote.EXIT)
        assert caller.ended() == 0


@pytest.mark.parametrize("kind", ["never", "other"])
def test_a_zygote_whose_caller_is_gone_already_ends(kind):
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    if kind == "never":
        gone.communicate()
    made = Caller(caller=gone.pid)
    try:
        assert made.ended() == 0
        assert made.report() is None
    finally:
        made.close()
        if kind == "other":
            gone.communicate()


DYING = """
import os, socket, subprocess, sys, time
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
boot = (
    "from entangle._worker import zygote;"
    f"zygote.main({theirs.fileno()}, {os.getpid()}, %r, ())" % (sys.path,)
)
child = subprocess.Popen([sys.executable, "-c", boot], pass_fds=[theirs.fileno()])
from entangle._worker import zygote
assert zygote.receive(ours)[0][0] == zygote.READY
print(child.pid, flush=True)
# Somebody else holds the socket, so that only the process itself can be missed.
os.set_inheritable(ours.fileno(), True)
holder = subprocess.Popen(
    [sys.executable, "-c", "input()"], pass_fds=[ours.fileno()]
)
os._exit(0)
"""


def test_the_callers_death_ends_everything():
    with subprocess.Popen(
        [sys.executable, "-c", DYING], stdin=-1, stdout=subprocess.PIPE
    ) as caller:
        pid = int(caller.stdout.readline())
        pidfd = os.pidfd_open(pid)
        try:
            assert select.select([pidfd], [], [], WITHIN)[0]
        finally:
            os.close(pidfd)
        caller.stdin.close()


def test_a_signal_between_fork_and_note_leaves_no_worker_behind():
    """A worker is ended also if it was forked while the zygote was told to leave."""
    before = """
    import os, signal
    def fork(fork=os.fork):
        pid = fork()
        if pid:
            os.kill(os.getpid(), signal.SIGTERM)
        return pid
    os.fork = fork
    """
    with zygote_with(before=before) as caller:
        made = caller.request()
        assert caller.report()[0] == zygote.FORKED
        assert caller.ended() == 0
        until(lambda: made.sock.recv(1000) == b"")


def test_workers_hold_the_state_that_their_zygote_took_over(caller, tmp_path):
    state = context.capture(0o27)
    state["cwd"] = str(tmp_path)
    state["environ"] = {**state["environ"], b"TAKEN": b"over"}
    data = codec.encode(context.portable(state)).data
    caller.ask(zygote.STATE, bytes(data))
    made = caller.fork()
    assert made.call(os.getcwd) == str(tmp_path)
    assert made.call(os.getenv, "TAKEN") == "over"
    assert made.call(os.umask, 0o27) == 0o27


def test_a_state_that_cannot_be_taken_over_is_told_by_calls(caller):
    caller.ask(zygote.STATE, b"this is none")
    made = caller.fork()
    made.begin(double, 1)
    assert made.receive().kind == frames.FAILED
    caller.ask(
        zygote.STATE, bytes(codec.encode(context.portable(context.capture(0))).data)
    )
    assert caller.fork().call(double, 2) == 4


def test_modules_that_may_wait_are_imported_at_leisure():
    made = Caller(later=["fractions", "no_such_module_anywhere"])
    try:
        assert made.report()[0] == zygote.READY
        first = made.fork()
        held = "'fractions' in __import__('sys').modules"
        assert first.call(eval, held) is False

        def later():
            time.sleep(0.15)  # the leisure
            return made.fork().call(eval, held)

        until(later)
    finally:
        made.close()
