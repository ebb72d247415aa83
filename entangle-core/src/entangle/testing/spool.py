"""The smallest place for jobs: processes of this machine, and a folder that tells."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from entangle.backend import (
    Capabilities,
    DirectoryStore,
    FoundJob,
    Job,
    JobExecutor,
    JobState,
    LogPiece,
    Pace,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The shell lives as long as the job, whoever has started it, and says how it ended.
_KEEPER: Final = """
told=; trap told=1 TERM
echo $$ > pid.part && mv pid.part pid
[ "$told" ] || "$@" > log 2>&1 < /dev/null
echo $? > exit.part && mv exit.part exit
"""


class SpoolExecutor(JobExecutor):
    """Runs each call as a process that outlives its client, in a folder of its own.

    It is what `JobExecutor` is tested with, and an example of one: no queue, no limits.

    Args:
        folder: Where jobs and their payloads lie; made if need be.
        python: The interpreter that jobs run in; by default this one.
        lifetime: Seconds after which a job is ended, whatever became of its client.
    """

    capabilities: ClassVar[Capabilities] = JobExecutor.capabilities._replace(
        output=True
    )
    # A folder is asked at no cost.
    pace: ClassVar[Pace] = Pace(first=0.02, factor=1.3, most=0.5)

    def __init__(
        self, *, folder: str, python: str = "", lifetime: float = 3600.0
    ) -> None:
        super().__init__(lifetime=lifetime)
        self._folder = Path(folder).absolute()
        self._python = python or sys.executable
        self._store = DirectoryStore(self._folder / "store")
        # Of this process, to be reaped.
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def store(self) -> DirectoryStore:
        """Return the store in the folder."""
        return self._store

    def create(self, job: Job) -> str:
        """Start a process."""
        folder = self._of(job.name)
        folder.mkdir(parents=True)
        (folder / "tags").write_text(json.dumps(dict(job.tags)))
        command = ["/bin/sh", "-c", _KEEPER, "job", self._python, *job.command]
        self._children[job.name] = subprocess.Popen(  # noqa: S603 - it is what it's for
            command,
            cwd=folder,
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        return job.name

    def poll(self, handles: Sequence[str]) -> Mapping[str, JobState]:
        """Look into the folders."""
        found: dict[str, JobState] = {}
        for handle in handles:
            state = self._state(self._of(handle))
            if state is not None:
                found[handle] = state
        return found

    def delete(self, handle: str, *, over: bool) -> bool:
        """Tell a process to end; remove its folder when it has."""
        folder = self._of(handle)
        child = self._children.get(handle)
        if over and child is not None:
            child.wait()  # it is ending
        state = self._state(folder)
        if state is not None and state.state != "ended":
            pid = _number(folder / "pid")
            if pid is None and child is not None:
                pid = child.pid
            if pid is not None:
                os.killpg(pid, signal.SIGTERM)
            return False
        if child is not None:
            child.wait()
            self._children.pop(handle, None)
        # At once: nobody must see half a job.
        gone = self._folder / f"{handle}.gone"
        with contextlib.suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def log(self, cursors: Mapping[str, str]) -> Mapping[str, LogPiece]:
        """Read on in the files that jobs write to."""
        found: dict[str, LogPiece] = {}
        for handle, cursor in cursors.items():
            with contextlib.suppress(FileNotFoundError):
                with (self._of(handle) / "log").open("rb") as file:
                    file.seek(int(cursor or 0))
                    whole, newline, _ = file.read().rpartition(b"\n")
                    position = int(cursor or 0) + len(whole) + len(newline)
                lines = whole.decode(errors="replace").split("\n") if newline else []
                found[handle] = LogPiece(lines, str(position))
        return found

    def find(self) -> Iterator[FoundJob]:
        """Look for folders."""
        for tags in sorted(self._folder.glob("jobs/*/tags")):
            age = max(0.0, time.time() - tags.stat().st_mtime)
            yield FoundJob(tags.parent.name, json.loads(tags.read_text()), age)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT002 - as in the base class
        """Take no more calls, and reap the processes of those that are over."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        for child in self._children.values() if wait else ():
            child.wait()

    def _of(self, handle: str) -> Path:
        return self._folder / "jobs" / handle

    def _state(self, folder: Path) -> JobState | None:
        if not folder.is_dir():
            return None
        code = _number(folder / "exit")
        if code is not None:
            return JobState("ended", self._log(folder), exit_code=code)
        pid = _number(folder / "pid")
        if pid is None:
            return JobState("waiting")
        if not _alive(pid):
            code = _number(folder / "exit")  # it may have written that just now
            return JobState("ended", self._log(folder), exit_code=code)
        return JobState("running")

    def _log(self, folder: Path) -> str:
        """Return the last line of what a job has printed."""
        try:
            text = (folder / "log").read_text(errors="replace").strip()
        except FileNotFoundError:
            return ""
        return text.rpartition("\n")[2]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}
