"""How many processors this process may use, which ones, and who has them leased."""

from __future__ import annotations

import os

WORKERS = "ENTANGLE_WORKERS"
ROOT = "/"


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
