"""Processes of this machine: who they are, what they have started, how they end.

A daemon and its jobs are *subreapers*: a process whose parent dies becomes the child of
the nearest of them. So all that a job has started is found below the job's process
while that lives, however it was detached; what is left when it dies comes to the
daemon, whose children are jobs and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

_PATIENCE = 2.0  # seconds in which what was killed must be gone
_PAUSE = 0.001
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class _Stat(NamedTuple):
    state: str
    parent: int
    started: int


class Identity(NamedTuple):
    """Which process: the time of its start tells pids apart that are used again.

    Attributes:
        pid: Its process identifier.
        started: When it started, in ticks since the machine did.
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return the identity of a process; None if there is none alive."""
        stat = _stat(pid)
        if stat is None or stat.state in "ZX":
            return None
        return cls(pid, stat.started)

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return Identity.of(self.pid) == self

    def open(self) -> int | None:
        """Return a descriptor that becomes readable when it ends; None if it has."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # Only now can the pid not come to mean another process.
        if self.alive():
            return descriptor
        os.close(descriptor)
        return None


def check_kernel() -> str:
    """Say what this machine lacks for this module; empty if nothing."""
    if not hasattr(os, "pidfd_open") or not hasattr(_libc, "prctl"):
        return "this system has no pidfd and prctl"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"pidfd can't be used: {error}"
    return "" if Identity.of(os.getpid()) else "/proc can't be read"


def ended(pidfd: int) -> bool:
    """Tell whether the process of such a descriptor has ended."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, be it by SIGKILL."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was faster.
        os._exit(1)


def end_family(root: int) -> None:
    """Kill a process that adopts orphans, and first all that it has started.

    Args:
        root: A child of this process that was not waited for yet.
    """
    # Stopped, it starts nothing more, and what it has started stays below it.
    _kill(root, signal.SIGSTOP)
    deadline = time.monotonic() + _PATIENCE
    while living := [pid for pid, stat in _below(root) if stat.state not in "ZX"]:
        if not _kill_all(living, deadline):
            break
    _kill(root, signal.SIGKILL)


def end_group(leader: int) -> None:
    """Kill a group of processes, and wait until its leader is gone.

    For what is left of a job whose daemon has died: nothing else leads to it any more.
    """
    deadline = time.monotonic() + _PATIENCE
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    while Identity.of(leader) is not None and time.monotonic() < deadline:
        time.sleep(_PAUSE)


def end_strays(known: Collection[int]) -> None:
    """Kill and reap all descendants of this process but some children and theirs.

    Args:
        known: The pids of the children that stay.
    """
    deadline = time.monotonic() + _PATIENCE
    while strays := [pid for pid, _ in _below(os.getpid(), known)]:
        if not _kill_all(strays, deadline):
            break
        for pid in strays:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # a grandchild, as yet


def _kill_all(pids: list[int], deadline: float) -> bool:
    """Kill processes, which may go on forking for a moment; False when that is late."""
    for pid in pids:
        _kill(pid, signal.SIGKILL)
    time.sleep(_PAUSE)
    # After that it is in the kernel's hands: a dead network drive, say.
    return time.monotonic() < deadline


def _below(root: int, without: Collection[int] = ()) -> list[tuple[int, _Stat]]:
    """Return the descendants of a process, leaving out some branches."""
    children: dict[int, list[tuple[int, _Stat]]] = {}
    for pid, stat in _table().items():
        children.setdefault(stat.parent, []).append((pid, stat))
    found: list[tuple[int, _Stat]] = []
    waiting = [root]
    while waiting:
        below = [
            each for each in children.get(waiting.pop(), ()) if each[0] not in without
        ]
        waiting.extend(pid for pid, _ in below)
        found.extend(below)
    return found


def _table() -> dict[int, _Stat]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {pid: stat for pid in pids if (stat := _stat(pid)) is not None}


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0].decode(), int(fields[1]), int(fields[19]))


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # gone, or somebody else's by now


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
