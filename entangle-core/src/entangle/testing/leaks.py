"""A ledger of what a process holds: threads, processes, descriptors, memory, files."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GRACE: Final = "LEAK_GUARD_GRACE"
MARK: Final = "LEAK_GUARD_MARK"
POOL_THREADS: Final = ("entangle-",)
POOL_DESCRIPTORS: Final = ("socket:", "pipe:", "anon_inode:", "/memfd:entangle")
ZYGOTE: Final = "entangle._worker.zygote"
SHARED_MEMORY: Final = ("entangle", "psm_", "pym-")
PROC: Final = Path("/proc")
_DEFAULT_GRACE: Final = 2.0


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
    """What there is at one moment: of this process, and of all that it started.

    A process counts as started by this one if it descends from it, or if it carries
    the value of the environment variable ``LEAK_GUARD_MARK``, where that is set:
    however often it was handed to another parent.
    """

    threads: frozenset[threading.Thread]
    processes: frozenset[Process]
    descriptors: frozenset[tuple[int, str]]
    shared: frozenset[str]
    files: frozenset[str]

    @classmethod
    def taken(cls) -> Ledger:
        """Write down what there is now."""
        return cls(
            frozenset(threading.enumerate()),
            frozenset(ours()),
            frozenset(descriptors()),
            frozenset(shared_memory()),
            frozenset(os.listdir(tempfile.gettempdir())),
        )

    def left_behind(self, *, pool_may_live: bool = False) -> list[str]:
        """Return a line for each thing that is there now and was not then.

        What is just going away is given two seconds, or ``LEAK_GUARD_GRACE``.

        Args:
            pool_may_live: Whether Entangle's own threads and idle workers may stay.
        """
        grace = float(os.environ.get(GRACE, _DEFAULT_GRACE))
        patience = time.monotonic() + grace
        while True:
            left = [*self._new(pool_may_live=pool_may_live)]
            if not left or time.monotonic() > patience:
                return left
            time.sleep(0.01)

    def _new(self, *, pool_may_live: bool) -> Iterator[str]:
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


# Processes that began before this one, so that it can't have started them. They are
# looked at once: this runs before and after every test.
_OLDER: Final[set[str]] = set()


def _begun() -> int:
    stat = Path("/proc/self/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[19])


def processes() -> dict[Process, Status]:
    """Return every process that began after this one, with its status."""
    found: dict[Process, Status] = {}
    begun = _begun()
    # By the plainest means, see above.
    for name in os.listdir("/proc"):
        if name.isdigit() and name not in _OLDER:
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    about, _, rest = file.read().rpartition(b")")
            except OSError:
                continue
            fields = rest.decode().split()
            if int(fields[19]) < begun:
                _OLDER.add(name)
                continue
            short = about.partition(b"(")[2].decode(errors="replace")
            process = Process(int(name), fields[19])
            found[process] = Status(int(fields[1]), fields[0], short)
    return found


def command_of(process: Process, status: Status) -> str:
    """Return what a process was started with, its short name if that is not known."""
    try:
        command = (PROC / str(process.pid) / "cmdline").read_bytes()
    except OSError:
        command = b""
    shown = command.replace(b"\0", b" ").decode(errors="replace")
    return shown[:200] or status.name


def _marked(process: Process) -> bool:
    """Tell whether a process carries the mark in its environment."""
    value = os.environ.get(MARK)
    if value is None:
        return False
    try:
        with open(f"/proc/{process.pid}/environ", "rb") as file:
            return f"{MARK}={value}".encode() in file.read()
    except OSError:
        return False


def ours() -> set[Process]:
    """Return the processes that this one started, whoever is their parent now."""
    statuses = processes()
    known = {os.getpid()}
    found: set[Process] = set()
    for process in statuses:
        if process.pid != os.getpid() and _marked(process):
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


def belongs_to_pool(process: Process, statuses: Mapping[Process, Status]) -> bool:
    """Tell whether a process is this process's zygote or one of its workers."""
    status = statuses[process]
    if status.state == "Z":
        return False
    if status.parent != os.getpid():
        for other, its in statuses.items():
            if other.pid == status.parent:
                process, status = other, its
                break
    return status.parent == os.getpid() and ZYGOTE in command_of(process, status)


def descriptors() -> Iterator[tuple[int, str]]:
    """Return this process's open descriptors and what they point to."""
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that listed the folder


def shared_memory() -> list[str]:
    """Return the names in /dev/shm that this library or Python may have made."""
    try:
        names = os.listdir("/dev/shm")  # noqa: S108 - often called; looked at only
    except OSError:
        return []
    return [name for name in names if name.startswith(SHARED_MEMORY)]
