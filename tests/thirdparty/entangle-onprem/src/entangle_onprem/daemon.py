"""The daemon: serves a spool, one process for each job.

    python -m entangle_onprem.daemon SPOOL --slots N

It has one thread, so that it may fork at any time. It sleeps until something changes
(the spool's bell, a signal, the end of an executor's process), then looks at the whole
spool. It ends at SIGTERM or SIGINT, with all of its jobs.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import job, processes, spool
from .clients import Client, Clients
from .errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_SLEEP = 1000  # ms: should a ring ever be lost, that is all it costs


class Daemon:
    """Serves one spool.

    Args:
        folder: The spool.
        slots: How many jobs run at once, at most.
        owner: The parent process, with which it ends and removes the spool; None for
            a spool of many.
    """

    def __init__(self, folder: Path, slots: int, owner: int | None = None) -> None:
        self._folder = folder
        self._slots = slots
        self._owned = owner is not None
        self._ending = False
        self._jobs: dict[int, tuple[Client, int]] = {}  # by pid: the client's number
        self._lock = _claim(folder)
        self._bell = spool.Bell(folder)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._owner: int | None = None
        if owner is not None:
            # No reused pid: the parent of this process can only be itself.
            self._owner = os.pidfd_open(owner)
            self._ending = os.getppid() != owner
            self._poll.register(self._owner, select.POLLIN)
        self._clients = Clients(folder, self._poll)
        processes.adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A signal rings the bell, so that none comes unnoticed just before a sleep.
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        job.warm_up()
        spool.write_identity(folder / "daemon", slots=slots)

    def serve(self) -> None:
        """Run jobs until told to end."""
        try:
            while not self._ending:
                self._look()
                self._poll.poll(_LONGEST_SLEEP)
                self._bell.clear()
                if self._owner is not None and processes.ended(self._owner):
                    self._ending = True
        finally:
            self._end_all()

    def _look(self) -> None:
        """Do what there is to do, in an order that frees slots before filling them."""
        self._reap()
        for client in self._clients.gone():
            self._end_jobs_of(client)
            client.close()
        for pid, (client, number) in self._jobs.items():
            if client.wants_end(number):
                processes.end_family(pid)
        self._reap()
        self._launch()

    def _launch(self) -> None:
        """Fill the slots, one job of each client in turn."""
        waiting = [client.waiting() for client in self._clients]
        while waiting and len(self._jobs) < self._slots:
            for queue in list(waiting):
                taken = next(queue, None)
                if taken is None:
                    waiting.remove(queue)
                elif len(self._jobs) < self._slots:
                    self._fork(*taken)

    def _fork(self, client: Client, number: int) -> None:
        if not client.take(number):
            return
        here = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            client.over(number, pid=0, refused=f"it can't be forked: {error}")
            return
        if pid == 0:
            job.become(client.folder, number, here)
        client.running += 1
        self._jobs[pid] = client, number

    def _reap(self) -> None:
        """Tell of the jobs that are over, once nothing that they started is left."""
        over: list[tuple[int, int]] = []
        for pid in list(self._jobs):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                over.append((pid, status))
        if not over:
            return
        ended = {pid: self._jobs.pop(pid) for pid, _ in over}
        processes.end_strays(self._jobs)
        for pid, status in over:
            client, number = ended[pid]
            client.running -= 1
            client.over(number, pid=pid, code=os.waitstatus_to_exitcode(status))

    def _end_jobs_of(self, gone: Client | None = None) -> None:
        pids = [
            pid for pid, (client, _) in self._jobs.items() if gone in {None, client}
        ]
        for pid in pids:
            processes.end_family(pid)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self._reap()

    def _end_all(self) -> None:
        self._end_jobs_of()
        processes.end_strays(())
        if self._owned:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            (self._folder / "daemon").unlink(missing_ok=True)

    def _told_to_end(self, *_: object) -> None:
        self._ending = True


def _claim(folder: Path) -> int:
    """Lock a spool, which is made if it is not there.

    Raises:
        SpoolError: Another daemon serves it, or it can't be trusted.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    spool.check_trust(folder)
    (folder / "clients").mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SpoolError(str(folder), "another daemon serves it") from None
    return descriptor


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the spool that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m entangle_onprem.daemon")
    parser.add_argument("spool", type=Path, help="the folder; made if it is not there")
    parser.add_argument("--slots", type=int, default=2, help="jobs at once; 2")
    parser.add_argument("--owner", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.slots < 1:
        parser.error("--slots must be at least 1")
    try:
        daemon = Daemon(given.spool.absolute(), given.slots, given.owner)
    except (SpoolError, ProcessLookupError) as error:
        print(f"entangle-onprem: {error}", file=sys.stderr)
        return 1
    daemon.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
