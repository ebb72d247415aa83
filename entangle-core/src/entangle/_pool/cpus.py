"""How many processors this process may use, which ones, and who has them leased."""

from __future__ import annotations

import os
from pathlib import Path

WORKERS = "ENTANGLE_WORKERS"


def allowed() -> tuple[int, ...]:
    """Return the ids of the processors that this process may run on, sorted."""
    try:
        return tuple(sorted(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return tuple(range(os.cpu_count() or 1))


class Processors:
    """Which processors are in use by calls that are bound to theirs."""

    def __init__(self) -> None:
        self._uses = dict.fromkeys(allowed(), 0)

    def least_used(self, count: int) -> tuple[int, ...]:
        """Return so many of the processors, fewer if there are not as many."""
        ids = sorted(self._uses, key=lambda cpu: (self._uses[cpu], cpu))
        return tuple(sorted(ids[:count]))

    def use(self, cpus: tuple[int, ...]) -> None:
        """Take note that a call is bound to processors."""
        for cpu in cpus:
            self._uses[cpu] += 1

    def release(self, cpus: tuple[int, ...]) -> None:
        """Take note that it is over."""
        for cpu in cpus:
            self._uses[cpu] -= 1


def quota() -> float | None:
    """Return how many processors' worth of time the cgroup grants; None: no limit."""
    for read in (_quota_v2, _quota_v1):
        try:
            return read()
        except (OSError, ValueError, IndexError):
            continue
    return None


def _cgroup(controller: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path
    raise ValueError(controller)


def _quota_v2() -> float | None:
    found: float | None = None
    path = Path("/sys/fs/cgroup") / _cgroup("").strip("/")
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        raise ValueError("no unified hierarchy")
    # The tightest limit on the way up counts.
    for folder in (path, *path.parents):
        limit = folder / "cpu.max"
        if limit.exists():
            most, period = limit.read_text().split()[:2]
            if most != "max":
                share = int(most) / int(period)
                found = share if found is None else min(found, share)
        if folder == root:
            break
    return found


def _quota_v1() -> float | None:
    root = Path("/sys/fs/cgroup/cpu")
    for folder in (root / _cgroup("cpu").strip("/"), root):
        limit = folder / "cpu.cfs_quota_us"
        if limit.exists():
            most = int(limit.read_text())
            if most <= 0:
                return None
            return most / int((folder / "cpu.cfs_period_us").read_text())
    return None


def workers() -> int:
    """Return how many calls may use a processor at once.

    ``ENTANGLE_WORKERS`` if set, else the processors this process is bound to, bounded
    by its cgroup's quota, rounded up.

    Raises:
        ValueError: ``ENTANGLE_WORKERS`` is no whole number above zero.
    """
    text = os.environ.get(WORKERS)
    if text:
        if not text.strip().isdecimal() or int(text) < 1:
            raise ValueError(
                f"{WORKERS}={text!r} is no whole number above 0: set it to the number "
                "of calls that may run at once, or unset it"
            )
        return int(text)
    count = len(allowed())
    share = quota()
    if share is not None:
        count = min(count, max(1, -(-int(share * 1000) // 1000)))
    return count
