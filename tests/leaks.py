"""A ledger of what the tests hold: threads, processes, descriptors, memory, files."""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

GRACE = float(os.environ.get("LEAK_GUARD_GRACE", "2"))
MARK = "LEAK_GUARD_MARK"
POOL_THREADS = ("entangle-",)
POOL_DESCRIPTORS = ("socket:", "pipe:", "anon_inode:", "/memfd:entangle")
ZYGOTE = "entangle._worker.zygote"
SHARED_MEMORY = ("entangle", "psm_", "pym-")
PROC = Path("/proc")


class Process(NamedTuple):
    """A running or unreaped process; the start time tells reused pids apart."""

    pid: int
    started: str


class Status(NamedTuple):
    """What /proc says of a process."""

    parent: int
    state: str
    name: str


class Ledger(NamedTuple):
    """What there is at one moment."""

    threads: frozenset[threading.Thread]
    processes: frozenset[Process]
    descriptors: frozenset[tuple[int, str]]
    shared: frozenset[str]
    files: frozenset[str]

    @classmethod
    def taken(cls):
        """Write down what there is now."""
        return cls(
            frozenset(threading.enumerate()),
            frozenset(ours()),
            frozenset(descriptors()),
            frozenset(shared_memory()),
            frozenset(path.name for path in Path(tempfile.gettempdir()).iterdir()),
        )

    def left_behind(self, *, pool_may_live=False):
        """Return a line for each thing that is there now and was not then.

        What is just going away is given GRACE seconds.
        """
        patience = time.monotonic() + GRACE
        while True:
            left = [*self._new(pool_may_live=pool_may_live)]
            if not left or time.monotonic() > patience:
                return left
            time.sleep(0.01)

    def _new(self, *, pool_may_live):
        now = Ledger.taken()
        for thread in now.threads - self.threads:
            pools = pool_may_live and thread.name.startswith(POOL_THREADS)
            if not pools and not thread.name.startswith("pytest_timeout"):
                yield f"thread {thread.name!r}"
        statuses = processes()
        for process in sorted(now.processes - self.processes):
            if process in statuses and not (
                pool_may_live and belongs_to_pool(process, statuses)
            ):
                status = statuses[process]
                command = command_of(process, status)
                yield f"process {process.pid} ({status.state}) {command}"
        for number, target in sorted(now.descriptors - self.descriptors):
            if not (pool_may_live and target.startswith(POOL_DESCRIPTORS)):
                yield f"descriptor {number}: {target}"
        yield from (f"shared memory {name}" for name in now.shared - self.shared)
        yield from (f"temporary file {name}" for name in now.files - self.files)


def processes():
    """Return every process of the machine with its status."""
    found = {}
    # By the plainest means: this runs before and after every test.
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    about, _, rest = file.read().rpartition(b")")
            except OSError:
                continue
            fields = rest.decode().split()
            short = about.partition(b"(")[2].decode(errors="replace")
            process = Process(int(name), fields[19])
            found[process] = Status(int(fields[1]), fields[0], short)
    return found


def command_of(process, status):
    """Return what a process was started with, its short name if that is not known."""
    try:
        command = (PROC / str(process.pid) / "cmdline").read_bytes()
    except OSError:
        command = b""
    shown = command.replace(b"\0", b" ").decode(errors="replace")
    return shown[:200] or status.name


class Marked:
    """Which processes carry the mark in their environment."""

    def __init__(self):
        self._known = {}
        with open("/proc/self/stat", "rb") as file:
            self._begun = int(file.read().rpartition(b")")[2].split()[19])

    def __contains__(self, process):
        """Look it up; only what is not the tests' own can be remembered."""
        if process not in self._known:
            mark = f"{MARK}={os.environ.get(MARK)}".encode()
            try:
                with open(f"/proc/{process.pid}/environ", "rb") as file:
                    found = mark in file.read()
            except OSError:
                return False
            if found:
                return True
            # Of a process that started before the tests did it is so for ever.
            if int(process.started) < self._begun:
                self._known[process] = False
            return False
        return self._known[process]


MARKED = Marked()


def ours():
    """Return the processes that these tests started, whoever is their parent now."""
    statuses = processes()
    known = {os.getpid()}
    found = set()
    for process in statuses:
        if process.pid != os.getpid() and process in MARKED:
            found.add(process)
            known.add(process.pid)
    # Descendants whose environment was replaced, and the dead that nobody reaped.
    grown = True
    while grown:
        grown = False
        for process, status in statuses.items():
            if status.parent in known and process.pid not in known:
                found.add(process)
                known.add(process.pid)
                grown = True
    return found


def belongs_to_pool(process, statuses):
    """Tell whether a process is this process's zygote or one of its workers."""
    status = statuses[process]
    if status.state == "Z":
        return False
    if status.parent != os.getpid():
        for other, its in statuses.items():
            if other.pid == status.parent:
                process, status = other, its
    return status.parent == os.getpid() and ZYGOTE in command_of(process, status)


def descriptors():
    """Return this process's open descriptors and what they point to."""
    for link in (PROC / "self" / "fd").iterdir():
        try:
            yield int(link.name), str(link.readlink())
        except OSError:
            continue  # the one that listed the folder


def shared_memory():
    """Return the names in /dev/shm that a test of ours may have made."""
    folder = Path("/dev/shm")
    paths = folder.iterdir() if folder.is_dir() else ()
    return [path.name for path in paths if path.name.startswith(SHARED_MEMORY)]


def shutdown_pool():
    """End the pool of this process, if one was ever made."""
    if "entangle._run.api" in sys.modules:
        from entangle.task import shutdown

        shutdown()
