"""The spool: a folder in which executors and a daemon leave files for each other.

    SPOOL/
        lock                locked by the daemon that serves it: there is but one
        daemon              which process that is, with its slots
        log                 what that prints (of a private spool)
        bell                a FIFO: a byte in it makes the daemon look
        clients/NAME/       what belongs to one executor
            owner           whose it is, and how many jobs may run at once
            bell            a FIFO: a byte in it makes the executor look
            1.job           a call that waits; renaming it takes it, removing takes back
            1.taken         a call that was taken
            1.started       the job's process has begun: its pid, the time
            1.stdout        what the job prints,
            1.stderr        likewise
            1.cancel        the executor asks for the job's end
            1.answer        what the call returned or raised
            1.end           the job is over: the last file, after which nothing changes

A file appears whole, by being renamed. Whoever has written one rings the other's bell,
and whoever hears the bell looks at everything: nothing depends on how often it rings.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Any

from .errors import SpoolError
from .processes import Identity

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = "entangle-onprem-"
"""What the names of private spools begin with, among the temporary files."""

SPOOLS = "ENTANGLE_ONPREM_SPOOLS"
"""The environment variable that names spools to look after, as PATH does folders."""

_KINDS = "job", "taken", "started", "stdout", "stderr", "cancel", "answer", "end"


class Bell:
    """The end of a FIFO that hears. Rung by `ring`."""

    def __init__(self, folder: Path) -> None:
        path = folder / "bell"
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # For writing too: without a writer it would look closed.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return what to poll."""
        return self._descriptor

    def clear(self) -> None:
        """Forget the rings until now; to be called before looking, not after."""
        try:
            while os.read(self._descriptor, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Hear no more."""
        os.close(self._descriptor)


def ring(folder: Path) -> None:
    """Ring a folder's bell; nothing happens if nobody hears it."""
    try:
        descriptor = os.open(folder / "bell", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.write(descriptor, b"!")
    except OSError:
        pass  # full: it will look, or gone
    finally:
        os.close(descriptor)


def write(path: Path, *parts: bytes) -> None:
    """Make a file appear whole, or not at all."""
    beside = path.with_name(f".{path.name}")
    try:
        with beside.open("wb") as file:
            file.writelines(parts)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_facts(path: Path, **facts: Any) -> None:
    """Make a file of plain facts appear."""
    write(path, json.dumps(facts).encode())


def read_facts(path: Path) -> dict[str, Any]:
    """Read such a file; empty if there is none, or not for this reader."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def write_identity(path: Path, **facts: Any) -> None:
    """Sign a file with this process's identity."""
    me = Identity.of(os.getpid())
    if me is None:
        raise OSError(f"process {os.getpid()} is not to be seen in /proc")
    write_facts(path, pid=me.pid, started=me.started, **facts)


def read_identity(path: Path) -> Identity | None:
    """Return who has signed a file; None if nobody has."""
    facts = read_facts(path)
    try:
        return Identity(int(facts["pid"]), int(facts["started"]))
    except (KeyError, TypeError, ValueError):
        return None


def check_trust(folder: Path) -> None:
    """Refuse a folder that others write to: what is in there is run.

    Raises:
        SpoolError: It can't be trusted; the reason says what to do.
        OSError: It can't be looked at.
    """
    about = folder.stat()
    reason = ""
    if about.st_uid != os.geteuid():
        reason = f"it belongs to user {about.st_uid}, and jobs are code: use your own"
    elif about.st_mode & 0o022:
        reason = f"others may write to it, and jobs are code: chmod go-w {folder}"
    if reason:
        raise SpoolError(str(folder), reason)


def register(spool: Path, slots: int) -> tuple[Path, Bell]:
    """Make this process a client of a spool.

    Returns:
        The client's folder and its bell.
    """
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    # Folders with a dot are not looked at.
    folder = spool / "clients" / f".{name}"
    folder.mkdir(parents=True)
    write_identity(folder / "owner", slots=slots)
    bell = Bell(folder)
    return folder.rename(folder.with_name(name)), bell


def clients(spool: Path) -> list[Path]:
    """Return the folders of a spool's clients."""
    folder = spool / "clients"
    return [folder / name for name in _names(folder) if not name.startswith(".")]


def numbers(client: Path, kind: str) -> list[int]:
    """Return the numbers of a client's jobs that have some file, in order."""
    found = (name.partition(".") for name in _names(client))
    return sorted(int(stem) for stem, _, suffix in found if stem and suffix == kind)


def forget(client: Path, number: int) -> None:
    """Remove all files of a job."""
    for kind in _KINDS:
        for begun in "", ".":
            (client / f"{begun}{number}.{kind}").unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # not there, or not any more
