"""What the control group of this place says: processors' time, deaths for memory."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

_ROOT = "/sys/fs/cgroup"  # in a container, its own group


def cpus() -> int:
    """Return how many processors calls may use here, at least one."""
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        count = os.cpu_count() or 1
    quota = _quota()
    if quota is None:
        return count
    return max(1, min(count, int(-(-quota // 1))))


def _quota() -> Union[float, None]:
    """Return how many processors' worth of time is granted; None for no limit."""
    try:
        most, period = _read("cpu.max").split()
    except (OSError, ValueError):
        try:
            most = _read("cpu/cpu.cfs_quota_us").strip()
            period = _read("cpu/cpu.cfs_period_us").strip()
        except OSError:
            return None
    try:
        found = int(most) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # "max"
    return found if found > 0 else None


def kills_for_memory() -> int:
    """Return how often the kernel has ended processes here to get memory."""
    for name in ("memory.events", "memory/memory.oom_control", "../../../proc/vmstat"):
        try:
            lines = _read(name).splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.strip().isdigit():
                return int(count)
    return 0


def _read(name: str) -> str:
    # By the plainest means, as all that is shipped.
    with open(f"{_ROOT}/{name}", encoding="ascii") as file:
        return file.read()
