"""Telling how a worker ended, and ending what outlived its zygote."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from entangle._worker.context import MARK
from entangle._worker.main import BROKEN_STREAM
from entangle.errors import ProcessTerminatedException, WorkerStartError

if TYPE_CHECKING:
    from .worker import WorkerProcess

_PF_EXITING = 0x4


class Deaths:
    """Makes the error for a call whose worker died."""

    def __init__(self) -> None:
        self._killed_for_memory = _kills_for_memory()

    def error(
        self, node: str, worker: WorkerProcess, status: int, *, zygote: bool
    ) -> ProcessTerminatedException:
        """Return the error for the call that a worker was running when it died."""
        code = os.waitstatus_to_exitcode(status)
        out_of_memory = False
        if code == -signal.SIGKILL and not worker.killed and not zygote:
            kills = _kills_for_memory()
            out_of_memory = kills > self._killed_for_memory
            self._killed_for_memory = kills
        detail = worker.broken
        if detail:
            detail += ": a task must leave descriptors alone that it has not opened"
        if zygote:
            detail = "the process that starts the workers was ended"
        elif code == BROKEN_STREAM and not detail:
            detail = "it lost its connection to the caller: a task closed or damaged it"
        return ProcessTerminatedException(
            node=node,
            pid=worker.pid,
            # That it was us who then ended it is not what the user looks for.
            signal=-code if code < 0 and not worker.broken else None,
            exit_code=code if code >= 0 else None,
            out_of_memory=out_of_memory,
            detail=detail,
        )


def at_boot(status: int) -> WorkerStartError:
    """Return the error for what waited for a zygote that never got ready."""
    return WorkerStartError(
        detail=f"a new Python interpreter ended at once ({describe(status)}); what it "
        "said is on stderr"
    )


def describe(status: int) -> str:
    """Return in words how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _kills_for_memory() -> int:
    """Return how often the kernel has ended a process since boot to get memory."""
    try:
        with open("/proc/vmstat", "rb") as file:  # noqa: PTH123 - pathlib would be an import only for that
            lines = file.read().splitlines()
        for line in lines:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def exiting(pid: int) -> bool:
    """Tell whether a process is dead, or past the point of no return.

    The kernel sets the flag before it closes the descriptors of a process that ends,
    whatever ended it (``PF_EXITING``, the ninth field of /proc/PID/stat).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return True
    return fields[0] in b"ZX" or bool(int(fields[6]) & _PF_EXITING)


def end_strays(mark: str) -> None:
    """End the descendants of workers that died with their zygote.

    They are found by the mark in the environment that they were started with. What
    was started with an environment of its own making is not.
    """
    wanted = f"{MARK}={mark}".encode()
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - as above
                environ = file.read()
            if wanted in environ.split(b"\0"):
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue
