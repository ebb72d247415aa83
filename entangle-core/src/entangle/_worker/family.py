"""Ending all that a process has started, whatever session it is in."""

from __future__ import annotations

import os
import signal
import time

from . import native


def adopt_orphans() -> None:
    """Make this process the parent of all its descendants that lose theirs."""
    native.prctl((native.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def end_descendants(patience: float = 5.0) -> None:
    """Kill and reap everything that descends from this process.

    Args:
        patience: Seconds after which what can't be ended is left.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = _descendants(os.getpid())
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        _reap()
        time.sleep(0.001)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _descendants(root: int) -> list[int]:
    """Return the living ones, nearest first."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        # The dead count too: they have to be reaped, if they are ours.
        if fields[0] not in b"ZX" or int(fields[1]) == root:
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            found.append(pid)
            waiting.append(pid)
    return found


def kills_for_memory() -> int:
    """Return how often the kernel has ended a process here to get memory.

    Of this container where that is known, else of the machine.
    """
    for path in (
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory/memory.oom_control",
        "/proc/vmstat",
    ):
        try:
            with open(path, "rb") as file:
                for line in file.read().splitlines():
                    name, _, count = line.partition(b" ")
                    if name == b"oom_kill":
                        return int(count)
        except (OSError, ValueError):
            continue
    return 0
