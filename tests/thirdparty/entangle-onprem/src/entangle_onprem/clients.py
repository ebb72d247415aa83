"""The daemon's view of the executors whose jobs it runs."""

from __future__ import annotations

import os
import select
import shutil
from typing import TYPE_CHECKING, Any

from . import processes, spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Client:
    """One executor: its folder, and the process that it lives in.

    Attributes:
        folder: Its folder in the spool.
        pidfd: A descriptor of its process.
        running: How many of its jobs run.
    """

    def __init__(self, folder: Path, pidfd: int, slots: int) -> None:
        self.folder = folder
        self.pidfd = pidfd
        self.running = 0
        self._slots = slots

    def waiting(self) -> Iterator[tuple[Client, int]]:
        """Yield the jobs that wait, in order, as long as it may have more running."""
        for number in spool.numbers(self.folder, "job"):
            if self.running >= self._slots:
                return
            yield self, number

    def take(self, number: int) -> bool:
        """Take a job; False if the executor was faster to take it back."""
        try:
            (self.folder / f"{number}.job").rename(self.folder / f"{number}.taken")
        except FileNotFoundError:
            return False
        return True

    def wants_end(self, number: int) -> bool:
        """Tell whether the executor asks for the end of a job."""
        return (self.folder / f"{number}.cancel").exists()

    def over(self, number: int, **facts: Any) -> None:
        """Tell the executor that a job is over, and how."""
        try:
            spool.write_facts(self.folder / f"{number}.end", **facts)
        except FileNotFoundError:
            return  # it has left
        spool.ring(self.folder)

    def exists(self) -> bool:
        """Tell whether the executor is there, and has not left the spool."""
        return self.folder.exists() and not processes.ended(self.pidfd)

    def close(self) -> None:
        """Forget an executor that is gone, with whatever it has left."""
        os.close(self.pidfd)
        shutil.rmtree(self.folder, ignore_errors=True)


class Clients:
    """All executors of a spool; the poll object wakes when the process of one ends."""

    def __init__(self, folder: Path, poll: select.poll) -> None:
        self._folder = folder
        self._poll = poll
        self._known: dict[str, Client] = {}

    def __iter__(self) -> Iterator[Client]:
        """Iterate over those that are known, the new ones last."""
        for folder in spool.clients(self._folder):
            if folder.name not in self._known:
                self._meet(folder)
        return iter(list(self._known.values()))

    def gone(self) -> Iterator[Client]:
        """Yield, and forget, those that have left or whose process has ended."""
        for name, client in list(self._known.items()):
            if not client.exists():
                del self._known[name]
                self._poll.unregister(client.pidfd)
                yield client

    def _meet(self, folder: Path) -> None:
        owner = spool.read_identity(folder / "owner")
        pidfd = None if owner is None else owner.open()
        if pidfd is None:
            # Nobody's: its process ended before this daemon came to know of it.
            shutil.rmtree(folder, ignore_errors=True)
            return
        slots = int(spool.read_facts(folder / "owner").get("slots", 1))
        self._known[folder.name] = Client(folder, pidfd, slots)
        self._poll.register(pidfd, select.POLLIN)
