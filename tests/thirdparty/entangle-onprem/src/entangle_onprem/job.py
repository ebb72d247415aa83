"""What the process of one job does: runs a packed call and leaves its answer."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from entangle.backend import Call, pack_call, run_payload
from entangle.task import shutdown

from . import processes, spool

if TYPE_CHECKING:
    from pathlib import Path


def header() -> bytes:
    """Say, in a line in front of the packed call, what it needs of its caller.

    A function that can be imported travels as its name, so the job has to look for
    modules where the caller does.
    """
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        folder = "/"  # the caller stands in a folder that was removed
    return json.dumps({"path": path, "cwd": folder}).encode() + b"\n"


def warm_up() -> None:
    """Have the daemon import what every job needs: its forks need not do it again."""
    run_payload(pack_call(Call(lambda: None)))
    shutdown()


def become(client: Path, number: int, daemon: int) -> NoReturn:
    """Run a job in this process, which the daemon has just forked, and leave it."""
    status = 1
    try:
        _set_apart(daemon)
        _redirect(client, number)
        _run(client, number)
        status = 0
    except BaseException:
        # A call's own errors are in its answer: this is about the spool.
        traceback.print_exc()
    finally:
        # Neither the daemon's exit handlers nor threads that the call has left.
        os._exit(status)


def _set_apart(daemon: int) -> None:
    """Leave the daemon's session, and let go of all that is the daemon's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    # First the one, then the other: what it starts must never be out of reach.
    processes.adopt_orphans()
    processes.die_with_parent(daemon)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _redirect(client: Path, number: int) -> None:
    """Print to the job's files, in whole lines, and read from nothing."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.close(3)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for target, kind in (1, "stdout"), (2, "stderr"):
        descriptor = os.open(client / f"{number}.{kind}", flags, 0o600)
        os.dup2(descriptor, target)
        os.close(descriptor)
    # Made anew: what the daemon's own held back is none of the job's.
    for target, name in (1, "stdout"), (2, "stderr"):
        stream = os.fdopen(target, "w", 1, "utf-8", "backslashreplace", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(client: Path, number: int) -> None:
    head, _, payload = (client / f"{number}.taken").read_bytes().partition(b"\n")
    wanted: dict[str, Any] = json.loads(head)
    sys.path[:] = wanted["path"]
    os.chdir(wanted["cwd"])
    now = time.monotonic()  # the same clock for all processes of a machine
    spool.write_facts(client / f"{number}.started", pid=os.getpid(), at=now)
    spool.ring(client)
    answer = run_payload(payload)
    # The call may have run graphs of its own, whose workers live on for the next.
    shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed or replaced by the call
    spool.write(client / f"{number}.answer", answer)
