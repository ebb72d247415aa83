"""The labels that our containers carry: whose they are, and until when."""

from __future__ import annotations

import os
import socket
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from entangle.backend import Call

CALLER: Final = "entangle.caller"
"""The process that made it: machine, process id, start time."""
PROGRAM: Final = "entangle.program"
TASK: Final = "entangle.task"
"""The task that it was first made for."""
RUN: Final = "entangle.run"
"""The run that it was first made for, by the identifier that its events have."""
CREATED: Final = "entangle.created"
"""When it was made, in seconds since the epoch."""
EXPIRES: Final = "entangle.expires"
"""When it is nobody's any more, whatever else is known."""
FOLDER: Final = "entangle.folder"
"""The private folder of the caller that is mounted in it."""
OURS: Final = (CALLER, PROGRAM, TASK, RUN, CREATED, EXPIRES, FOLDER)

LIFETIME: Final = 7 * 24 * 3600.0
"""Seconds after which a container counts as left behind, if its caller can't be seen."""


def made_now(call: Call | None = None, folder: str = "") -> dict[str, str]:
    """Return the labels of a container that is made now.

    Args:
        call: The call that it is first made for; others may use it later.
        folder: The private folder that is mounted in it.
    """
    now = time.time()
    labels = {
        CALLER: caller_here(),
        PROGRAM: Path(sys.argv[0]).name if sys.argv else "",
        TASK: call.name if call is not None else "",
        RUN: call.run_id() if call is not None else "",
        CREATED: f"{now:.3f}",
        EXPIRES: f"{now + LIFETIME:.0f}",
    }
    if folder:
        labels[FOLDER] = folder
    return labels


def caller_here() -> str:
    """Name this process so that no other is taken for it."""
    pid = os.getpid()
    return f"{machine()} {pid} {started(pid)}"


def started(pid: int) -> str:
    """Return when a process was started, in the kernel's units; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    fields = stat.rpartition(b")")[2].split()
    # What is dead and only waits for its parent is gone.
    return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()


@cache
def machine() -> str:
    """Name this machine since it was booted; containers on it have names of their own.

    A process id means something only among the processes that share its numbers.
    """
    try:
        boot = (
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        )
        boot += str(Path("/proc/self/ns/pid").readlink()).removeprefix("pid:")
    except OSError:
        boot = "?"
    return f"{socket.gethostname()}/{boot}"


def abandoned(labels: Mapping[str, str], now: float) -> bool:
    """Tell whether a container is nobody's any more.

    It is if its caller is known to be gone, or, where that can't be seen from here, if
    it has expired.
    """
    where, _, process = labels.get(CALLER, "").partition(" ")
    if not where:
        return False
    pid, _, start = process.partition(" ")
    if where == machine() and pid.isdigit():
        return started(int(pid)) != start
    try:
        return float(labels.get(EXPIRES, "inf")) < now
    except ValueError:
        return False


def age(labels: Mapping[str, str], now: float) -> float:
    """Return how many seconds ago a container was made."""
    try:
        return max(0.0, now - float(labels.get(CREATED, "")))
    except ValueError:
        return 0.0
