"""The daemon that serves a spool, as an executor sees it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import processes, spool
from .errors import SpoolError

_PATIENCE = 5.0  # seconds in which a daemon has to end


class Service:
    """A daemon and its spool.

    Attributes:
        folder: The spool.
        pidfd: A descriptor that becomes readable when the daemon ends.
    """

    def __init__(
        self, folder: Path, pidfd: int, own: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.folder = folder
        self.pidfd = pidfd
        self._own = own

    def ended(self) -> bool:
        """Tell whether the daemon has ended."""
        return processes.ended(self.pidfd)

    def close(self) -> None:
        """Let go of the daemon; end it, and remove its spool, if it is this process's."""
        os.close(self.pidfd)
        if self._own is None:
            return
        self._own.send_signal(signal.SIGTERM)
        try:
            self._own.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._own.kill()
            self._own.wait()
        # The daemon does that, too, if it isn't killed.
        shutil.rmtree(self.folder, ignore_errors=True)


def start(slots: int) -> Service:
    """Start a daemon for this process, with a spool of its own.

    Returns at once: what is put into the spool is found when the daemon is there.
    """
    folder = Path(tempfile.mkdtemp(prefix=spool.PRIVATE))
    command = [sys.executable, "-P", "-m", "entangle_onprem.daemon", str(folder)]
    command += ["--slots", str(slots), "--owner", str(os.getpid())]
    try:
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the program, which ends its daemon as it sees fit.
                start_new_session=True,
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Service(folder, os.pidfd_open(daemon.pid), daemon)


def find(folder: Path) -> Service:
    """Find the daemon that serves a spool.

    Raises:
        SpoolError: None does.
    """
    daemon = spool.read_identity(folder / "daemon")
    pidfd = None if daemon is None else daemon.open()
    if pidfd is None:
        reason = (
            "no daemon serves it; start one with "
            f"`python -m entangle_onprem.daemon {folder}`"
        )
        raise SpoolError(str(folder), reason)
    return Service(folder, pidfd)
