"""Whose a job is: the process that asked for it, known again by anybody who sweeps."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple


class Owner(NamedTuple):
    """A process of some machine.

    Attributes:
        machine: Stands for the machine since its start, and the container.
        pid: The process identifier there.
        started: When it began, in ticks since the machine's start: pids are reused. 0
            where that can't be known.
    """

    machine: str
    pid: int
    started: int

    @classmethod
    def this(cls) -> Owner:
        """Return this process."""
        pid = os.getpid()
        return cls(_machine(), pid, _started(pid) or 0)

    @classmethod
    def parsed(cls, text: str) -> Owner | None:
        """Return what `str` has written; None if it is something else."""
        machine, _, rest = text.partition(".")
        pid, _, started = rest.partition(".")
        if not (machine and pid.isdigit() and started.isdigit()):
            return None
        return cls(machine, int(pid), int(started))

    def __str__(self) -> str:
        """Write it as labels and tags may be."""
        return f"{self.machine}.{self.pid}.{self.started}"

    def gone(self) -> bool:
        """Tell whether it is known to have ended; of other machines nothing is."""
        if self.machine != _machine():
            return False
        started = _started(self.pid)
        if started is None:
            return True
        return bool(started and self.started and started != self.started)


def _machine() -> str:
    """Name what pids are counted in."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - read often
            boot = file.read()
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - as above
    except OSError:
        boot, space = os.uname().nodename, ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:16]


def _started(pid: int) -> int | None:
    """Return when a process began; 0 if that can't be seen, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        # Other systems have no such files, and some hide those of other users.
        return 0 if _exists(pid) else None
    return None if fields[0] in b"ZX" else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True
