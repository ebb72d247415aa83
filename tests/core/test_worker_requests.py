"""What a zygote is made of: its messages, its children, its modules."""

import os
import pickle
import signal
import socket
import subprocess
import sys

import pytest
from worker_kit import WITHIN, running, until

from entangle._worker import brood, native, zygote


@pytest.fixture
def pair():
    """Two ends of a control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(WITHIN)
        theirs.settimeout(WITHIN)
        yield ours, theirs


# -- messages


def test_messages_carry_descriptors(pair):
    ours, theirs = pair
    read, write = os.pipe()
    zygote.send(ours, (1, "text"), (write,))
    os.close(write)
    message, (got,) = zygote.receive(theirs)
    assert message == (1, "text")
    assert not os.get_inheritable(got)
    os.write(got, b"through")
    os.close(got)
    assert os.read(read, 100) == b"through"
    os.close(read)


def test_messages_without_descriptors(pair):
    ours, theirs = pair
    zygote.send(ours, {"a": 1})
    zygote.send(ours, [2])
    assert zygote.receive(theirs) == ({"a": 1}, [])
    assert zygote.receive(theirs) == ([2], [])


def test_the_biggest_message_that_can_be_sent_arrives_whole(pair):
    ours, theirs = pair
    size = 1 << 20
    while True:
        try:
            zygote.send(ours, b"x" * size)
            break
        except OSError:
            size -= 1000
    assert size > 100_000
    assert zygote.receive(theirs)[0] == b"x" * size


def test_the_end_is_no_message(pair):
    ours, theirs = pair
    ours.close()
    assert zygote.receive(theirs) == (None, None)


def test_lost_descriptors_are_told_and_none_stays_open(pair):
    """The system drops what there is no room for."""
    ours, theirs = pair
    before = os.listdir("/proc/self/fd")
    zygote.send(ours, ("fork",), [ours.fileno()] * (zygote.MOST_DESCRIPTORS + 4))
    assert zygote.receive(theirs) == (("fork",), None)
    assert os.listdir("/proc/self/fd") == before


def test_damaged_messages_leave_no_descriptors(pair):
    ours, theirs = pair
    before = os.listdir("/proc/self/fd")
    socket.send_fds(ours, [b"no pickle"], [ours.fileno()])
    with pytest.raises(pickle.UnpicklingError):
        zygote.receive(theirs)
    assert os.listdir("/proc/self/fd") == before


# -- parts


def test_children_zombies_included():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    assert child.pid in brood.children()
    assert sorted(brood._children_by_scan(os.getpid())) == sorted(brood.children())
    child.stdin.close()
    until(lambda: not running(child.pid))
    assert child.pid in brood.children()
    child.wait()
    assert child.pid not in brood.children()


def test_children_where_the_kernel_has_no_list_of_them(monkeypatch):
    def refuse(*_):
        raise FileNotFoundError

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    there = brood.children()
    monkeypatch.setattr(os, "open", refuse)
    assert child.pid in there
    assert sorted(brood.children()) == sorted(there)
    monkeypatch.undo()
    child.communicate()


def test_signalling_and_draining_what_is_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    brood.kill(child.pid)
    read, write = os.pipe2(os.O_NONBLOCK)
    os.write(write, b"x" * 5000)
    brood.drained(read)
    with pytest.raises(BlockingIOError):
        os.read(read, 1)
    os.close(write)
    brood.drained(read)
    os.close(read)


def test_preloading_survives_any_module(monkeypatch, tmp_path):
    (tmp_path / "leaving_module.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "failing_module.py").write_text("1 / 0")
    (tmp_path / "good_module.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(brood.gc, "freeze", lambda: None)
    monkeypatch.setattr(sys, "stderr", None)
    brood.preload(["leaving_module", "failing_module", "good_module", "missing_module"])
    assert sys.modules.pop("good_module").x == 1


def test_a_system_without_prctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "_ctypes", None)
    call = native._function("prctl")
    assert call((native.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)) == -1
    monkeypatch.setattr(native, "prctl", call)
    assert not native.adopt_orphans()
    assert not native.die_with_parent(signal.SIGKILL)
