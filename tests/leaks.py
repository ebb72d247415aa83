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
    command: str


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
                yield f"process {process.pid} ({status.state}) {status.command}"
        for number, target in sorted(now.descriptors - self.descriptors):
            if not (pool_may_live and target.startswith(POOL_DESCRIPTORS)):
                yield f"descriptor {number}: {target}"
        yield from (f"shared memory {name}" for name in now.shared - self.shared)
        yield from (f"temporary file {name}" for name in now.files - self.files)


def processes():
    """Return every process of the machine with its status."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
            fields = rest.split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        process = Process(int(folder.name), fields[19])
        shown = command.decode(errors="replace")[:200] or name.partition("(")[2]
        found[process] = Status(int(fields[1]), fields[0], shown)
    return found


def ours():
    """Return the processes that these tests started, whoever is their parent now."""
    statuses = processes()
    mark = f"{MARK}={os.environ.get(MARK)}".encode()
    known = {os.getpid()}
    found = set()
    for process in statuses:
        try:
            marked = mark in (PROC / str(process.pid) / "environ").read_bytes()
        except OSError:
            marked = False
        if marked and process.pid != os.getpid():
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
    by_pid = {other.pid: status for other, status in statuses.items()}
    status = by_pid[process.pid]
    if status.state == "Z":
        return False
    if status.parent != os.getpid():
        status = by_pid.get(status.parent, status)
    return status.parent == os.getpid() and ZYGOTE in status.command


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
