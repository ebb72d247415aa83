"""Which processors this process may use, and how much of their time."""

from __future__ import annotations

import os

ROOT = "/"


def allowed() -> tuple[int, ...]:
    """Return the ids of the processors that this process may run on, sorted."""
    try:
        return tuple(sorted(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return tuple(range(os.cpu_count() or 1))


def usable() -> int:
    """Return how many processors' worth of work can be done at once.

    Those that this process is bound to, bounded by its cgroup's quota, rounded up.
    """
    count = len(allowed())
    share = quota()
    if share is not None:
        count = min(count, max(1, -(-int(share * 1000) // 1000)))
    return count


def quota() -> float | None:
    """Return how many processors' worth of time the cgroup grants; None: no limit."""
    for read in (_quota_v2, _quota_v1):
        try:
            return read()
        except (OSError, ValueError, IndexError):
            continue
    return None


def _cgroup(controller: str) -> str:
    for line in read("proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path
    raise ValueError(controller)


def cgroup_folders() -> list[str]:
    """Return the folders of this process's cgroups, its own first, the root last.

    Raises:
        OSError, ValueError: there is no unified hierarchy.
    """
    root = "sys/fs/cgroup"
    read(f"{root}/cgroup.controllers")
    names = _cgroup("").strip("/").split("/")
    return ["/".join([root, *names[:depth]]) for depth in range(len(names), -1, -1)]


def _quota_v2() -> float | None:
    found: float | None = None
    # The tightest limit on the way up counts.
    for folder in cgroup_folders():
        try:
            text = read(f"{folder}/cpu.max")
        except FileNotFoundError:
            continue
        most, period = text.split()[:2]
        if most != "max":
            share = int(most) / int(period)
            found = share if found is None else min(found, share)
    return found


def _quota_v1() -> float | None:
    root = "sys/fs/cgroup/cpu"
    for folder in (f"{root}/{_cgroup('cpu').strip('/')}", root):
        try:
            most = int(read(f"{folder}/cpu.cfs_quota_us"))
        except FileNotFoundError:
            continue
        if most <= 0:
            return None
        return most / int(read(f"{folder}/cpu.cfs_period_us"))
    return None


def read(path: str) -> str:
    """Return the text of a file below the root of the file system."""
    # pathlib would be an import only for that.
    with open(ROOT + path) as file:  # noqa: PTH123
        return file.read()
