"""Spools seen from outside: who serves them, what waits, what was left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from entangle.hooks import Leftover

from . import spool
from .errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SETTLING = (
    5.0  # seconds in which a new spool may as yet have neither daemon nor client
)


class Status(NamedTuple):
    """The state of one spool.

    Attributes:
        folder: The spool.
        daemon: The process that serves it, if one does.
        slots: How many jobs that runs at once.
        clients: How many living executors use it.
        running: How many jobs run.
        waiting: How many wait.
        trouble: Why it can't be used; empty if it can.
    """

    folder: Path
    daemon: int | None
    slots: int
    clients: int
    running: int
    waiting: int
    trouble: str

    def __str__(self) -> str:
        """Say it in a line."""
        if self.trouble:
            return self.trouble
        return (
            f"daemon {self.daemon}, {self.running} of {self.slots} slots taken, "
            f"{self.waiting} waiting, {self.clients} clients"
        )


def status(folder: Path) -> Status:
    """Look at a spool, and change nothing."""
    daemon = spool.read_identity(folder / "daemon")
    alive = daemon is not None and daemon.alive()
    living = [client for client in spool.clients(folder) if _alive(client)]
    return Status(
        folder=folder,
        daemon=daemon.pid if daemon is not None and alive else None,
        slots=int(spool.read_facts(folder / "daemon").get("slots", 0)) if alive else 0,
        clients=len(living),
        running=sum(_running(client) for client in living),
        waiting=sum(len(spool.numbers(client, "job")) for client in living),
        trouble=_trouble(folder, alive=alive),
    )


def named() -> list[Path]:
    """Return the spools that the environment names."""
    text = os.environ.get(spool.SPOOLS, "")
    return [Path(name).absolute() for name in text.split(os.pathsep) if name]


def private() -> list[Path]:
    """Return the spools of single executors, of all programs of this user."""
    found = Path(tempfile.gettempdir()).glob(f"{spool.PRIVATE}*")
    return [folder for folder in sorted(found) if _mine(folder)]


def leftovers(older_than: float) -> Iterator[Leftover]:
    """Yield what is nobody's any more, and would stay for ever.

    A daemon removes what belongs to executors that are gone, so there is only what
    has lost its daemon, too: the machine was switched off, or both were killed.
    """
    for folder in private():
        clients = spool.clients(folder)
        known = status(folder)
        # Without a client it may be one that is just being made.
        least = older_than if clients else max(older_than, _SETTLING)
        if known.daemon is None and not known.clients:
            yield from _left("spool", [folder], least)
    for folder in named():
        if status(folder).daemon is None:
            gone = (client for client in spool.clients(folder) if not _alive(client))
            yield from _left("jobs", gone, older_than)


def _left(kind: str, folders: Iterable[Path], older_than: float) -> Iterator[Leftover]:
    for folder in folders:
        try:
            age = time.time() - folder.stat().st_mtime
        except OSError:
            continue  # somebody else has swept
        if age >= older_than:
            yield Leftover(kind, str(folder), age, partial(shutil.rmtree, folder))


def _trouble(folder: Path, *, alive: bool) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    try:
        spool.check_trust(folder)
    except SpoolError as error:
        return error.reason
    return "" if alive else "no daemon serves it"


def _alive(client: Path) -> bool:
    owner = spool.read_identity(client / "owner")
    return owner is not None and owner.alive()


def _running(client: Path) -> int:
    taken = set(spool.numbers(client, "taken"))
    return len(taken.difference(spool.numbers(client, "end")))


def _mine(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False
