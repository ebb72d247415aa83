"""Keeping a log of each run in a folder, whatever happens to the program."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from entangle._log import Log
from entangle._run.observing import Observer, observed
from entangle._seam.events import RunStarted

from .folder import FOLDER, IGNORED, LOG, prune
from .format import Scribe, header, line_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from entangle._run.telling import Teller

log = Log("entangle.run")

_AT_ONCE: Final = 1 << 20  # characters


class RunLog(Observer):
    """Writes what happens to a file for each run.

    A line is written whole, in one go with others; what a crash cuts off is passed over
    by readers. A file that can't be written is given up with one warning: no run is
    disturbed by its log.

    Attributes:
        runs: The runs that were begun, in order.
    """

    ours = True

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder
        self.runs: list[str] = []
        self._files: dict[str, tuple[int, float]] = {}
        self._warned = False

    @property
    def teller(self) -> type[Teller]:
        """What is frequent comes as lines already."""
        return Scribe

    def take(self, run: str, events: Sequence[Any]) -> None:
        """Write lines, and events as lines."""
        lines: list[str] = []
        for each in events:
            if type(each) is RunStarted:
                self._open(each)
            elif run in self._files:
                text = each if type(each) is str else line_of(each, self._files[run][1])
                lines.append(text)
        self._write(run, lines)

    def closed(self) -> None:
        """Close what is left."""
        for run in list(self._files):
            self._close(run)

    def over(self, run: str) -> None:
        """A run is over."""
        self._close(run)

    def _open(self, begun: RunStarted) -> None:
        folder = os.path.join(self.folder, begun.run)
        try:
            make(self.folder)
            os.mkdir(folder, 0o700)
            descriptor = os.open(
                os.path.join(folder, LOG),
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            self._give_up(begun.run, error)
            return
        # For as long as it is held the run is under way: it ends with the process.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._files[begun.run] = descriptor, begun.time
        self.runs.append(begun.run)
        more = {"pid": os.getpid(), "cwd": _cwd(), "argv": list(sys.argv)}
        self._write(begun.run, [header(begun, **more, python=sys.version.split()[0])])
        prune(self.folder)

    def _write(self, run: str, lines: list[str]) -> None:
        if not lines or run not in self._files:
            return
        data = memoryview("".join(lines).encode())
        try:
            while data:
                data = data[os.write(self._files[run][0], data[:_AT_ONCE]) :]
        except OSError as error:
            self._give_up(run, error)

    def _give_up(self, run: str, error: OSError) -> None:
        self._close(run)
        if not self._warned:
            self._warned = True
            log.warning(
                "the run goes on, but no log of it is kept in %s: %s",
                self.folder,
                error.strerror or error,
            )

    def _close(self, run: str) -> None:
        descriptor, _ = self._files.pop(run, (-1, 0.0))
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)


@contextlib.contextmanager
def logged(folder: str | os.PathLike[str] = FOLDER) -> Generator[None, None, None]:
    """Keep a log of each run that a block begins: `entangle show` reads it.

    The log of a run is ``FOLDER/RUN/events.jsonl``: what happened, in lines of JSON, with
    all that its tasks have printed in processes and the beginnings of their values; for
    its owner alone. The last 100 runs are kept. A folder that can't be written to is told
    of once, and the runs go on.

    Args:
        folder: Where to keep the logs.
    """
    with observed([RunLog(os.fspath(folder))]):
        yield


def make(folder: str) -> None:
    """Make the folder of the logs, for its owner alone: values are in them."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(os.path.abspath(folder))
    ours = os.path.basename(above) == ".entangle"
    if ours and not os.path.isdir(above):
        os.makedirs(above, 0o777, exist_ok=True)
        with (
            contextlib.suppress(OSError),
            open(os.path.join(above, IGNORED), "x", encoding="utf-8") as file,
        ):
            file.write("# Made by Entangle: logs of runs.\n*\n")
    os.makedirs(folder, 0o700, exist_ok=True)


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
