"""One job, as the executor that has queued it sees it."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle.backend import deliver
from entangle.errors import ProcessTerminatedException, WorkerStartError

from . import processes, spool
from .errors import SpoolError
from .output import STREAMS, Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from entangle.backend import Call


class Ticket:
    """A queued call: reports how it goes, from the files of its job.

    Attributes:
        call: The call.
        number: The job's number in the client's folder.
        begun: Whether the job's process is known to have begun.
    """

    def __init__(self, call: Call, folder: Path, number: int) -> None:
        self.call = call
        self.number = number
        self.begun = False
        self._folder = folder
        self._pid = 0
        self._tails: dict[str, Tail] = {}

    def path(self, kind: str) -> Path:
        """Return the path of one of the job's files."""
        return self._folder / f"{self.number}.{kind}"

    def look(self, names: Container[str], *, lost: bool) -> Callable[[], None] | None:
        """Report what is new, but for the end.

        Args:
            names: The names of the files that are there.
            lost: Whether the daemon has ended, so that nothing more will come.

        Returns:
            What reports the end; None if it is not there.
        """
        if not self.begun and self._there("started", names):
            self._begin()
        over = lost or self._there("end", names)
        if self.begun:
            for stream, tail in self._tails.items():
                text = tail.rest() if over else tail.read()
                if text:
                    self.call.output(stream, text)
        return self._end(lost=lost) if over else None

    def discard(self) -> None:
        """Remove the job's files."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
        spool.forget(self._folder, self.number)

    def _there(self, kind: str, names: Container[str]) -> bool:
        return f"{self.number}.{kind}" in names

    def _begin(self) -> None:
        facts = spool.read_facts(self.path("started"))
        self._pid = facts["pid"]
        # The job has made them before it said that it began.
        self._tails = {stream: Tail(self.path(stream)) for stream in STREAMS}
        self.begun = True
        self.call.started(facts["at"])

    def _end(self, *, lost: bool) -> Callable[[], None]:
        end = spool.read_facts(self.path("end"))
        try:
            # However its process ended after it.
            return partial(deliver, self.call, self.path("answer").read_bytes())
        except FileNotFoundError:
            pass
        if end and self.path("cancel").exists():
            return partial(self.call.cancelled, "killed")
        return partial(self.call.failed, self._error(end, lost=lost))

    def _error(self, end: dict[str, Any], *, lost: bool) -> Exception:
        name = self.call.name
        if end.get("refused"):
            return WorkerStartError(end["refused"])
        if end:
            code = end["code"]
            return ProcessTerminatedException(
                node=name,
                pid=end["pid"],
                signal=-code if code < 0 else None,
                exit_code=code if code >= 0 else None,
            )
        if not self.begun:
            reason = f"its daemon has ended before it ran {name}"
            return SpoolError(str(self._folder.parents[1]), reason)
        # The job was killed with its daemon; what it has started may be left.
        processes.end_group(self._pid)
        return ProcessTerminatedException(
            node=name, pid=self._pid, signal=signal.SIGKILL, detail="with its daemon"
        )
