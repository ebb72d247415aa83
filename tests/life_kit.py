"""What tests of life and death need: programs of their own, pids, patient waiting."""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOON = 2.0  # seconds: "within a second" on a machine that others use too
PATIENCE = 20.0  # seconds after which something that must happen has not


def until(condition, seconds=PATIENCE):
    """Poll until a condition holds, and return what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {condition}"
        time.sleep(0.005)


def alive(pid):
    """Tell whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def gone(*pids, seconds=SOON):
    """Wait until none of some processes is alive."""
    until(lambda: not any(map(alive, pids)), seconds)
    return True


def read_pid(path, seconds=PATIENCE):
    """Wait for a file that another process writes a whole number to."""
    return int(until(lambda: path.exists() and path.read_text().strip(), seconds))


@contextlib.contextmanager
def within(seconds=SOON):
    """Assert that a block takes no longer."""
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took < seconds, f"took {took:.2f} s, not {seconds:g} s"


def pool_pids():
    """Return the process ids of this process's zygotes and workers."""
    from entangle._pool import pool

    existing = pool.existing()
    return existing.processes.pids() if existing is not None else []


def zygote_pid():
    """Return the process id of the zygote that forks ordinary workers."""
    return pool_pids()[0]


class Program(subprocess.Popen):
    """A running Python program whose output is read line by line, then as a whole."""

    def __init__(self, command, **variables):
        super().__init__(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | variables,
            bufsize=0,
        )
        self.seen = b""


@contextlib.contextmanager
def cgroup(controller, **limits):
    """Make a control group with limits; yield the file that takes its members.

    The test is skipped where none can be made. It is removed when it is empty.
    """
    for root in (f"/sys/fs/cgroup/{controller}", "/sys/fs/cgroup"):
        folder = Path(root, f"entangle-test-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        written = 0
        for name, limit in limits.items():
            file = folder / f"{controller}.{name}"
            if file.exists():
                file.write_text(str(limit))
                written += 1
        if written and (folder / "cgroup.procs").exists():
            break
        folder.rmdir()
    else:
        pytest.skip("no control group can be made here")
    members = folder / "cgroup.procs"
    try:
        yield members
    finally:
        until(lambda: not members.read_text())
        folder.rmdir()


def program(code, *args, path=None, **variables):
    """Start a Python program, its text in ``path`` if given, with open pipes."""
    command = [sys.executable, "-W", "error"]
    if path is None:
        command += ["-c", code]
    else:
        path.write_text(code)
        command += [str(path)]
    return Program([*command, *map(str, args)], **variables)


def has_line(running, seconds):
    """Wait for a line that a program prints; False if none comes in time."""
    deadline = time.monotonic() + seconds
    while b"\n" not in running.seen:
        left = deadline - time.monotonic()
        ready = left > 0 and select.select([running.stdout], [], [], left)[0]
        data = os.read(running.stdout.fileno(), 1 << 16) if ready else b""
        if not data:
            return False
        running.seen += data
    return True


def line_of(running, seconds=PATIENCE):
    """Return the next line that a program prints; its errors if there is none."""
    assert has_line(running, seconds), f"printed no line: {end(running, 0.1)}"
    line, _, running.seen = running.seen.partition(b"\n")
    return line.decode() + "\n"


def end(running, seconds=PATIENCE, stdin=None):
    """Wait for a program; return its exit code, output and errors."""
    late = False
    try:
        out, err = running.communicate(stdin and stdin.encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        late = True
        running.kill()
        try:
            out, err = running.communicate(timeout=2)
        except subprocess.TimeoutExpired as left:  # a child holds its streams
            out, err = left.stdout, left.stderr
            for stream in (running.stdin, running.stdout, running.stderr):
                stream.close()
    out, err = (running.seen + (out or b"")).decode(), (err or b"").decode()
    assert not late, f"not over within {seconds:g} s\n--- out\n{out}\n--- err\n{err}"
    return running.returncode, out, err


def output_of(code, *args, path=None, stdin=None, seconds=PATIENCE, **variables):
    """Run a Python program that must succeed silently on stderr; return its output."""
    process = program(code, *args, path=path, **variables)
    status, out, err = end(process, seconds, stdin)
    assert (status, err) == (0, ""), f"exit code {status}\n{out}\n{err}"
    return out
