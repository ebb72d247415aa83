"""The room that entries take: kept below a limit by removing what was not used for long.

Nobody counts all files each time: how much has come since they were counted last is in
a small file, and at a sixteenth of the limit they are counted again.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATE: Final = struct.Struct("<QQ")  # bytes that have come, the limit then
_SHARE: Final = 16
_YOUNG: Final = 60.0  # seconds in which a file may be without its lock
_ENTRY: Final = re.compile(r"[0-9a-f]{38}")
_FOLDER: Final = re.compile(r"[0-9a-f]{2}")
_OURS: Final = frozenset({"room", "clock", "tmp"})


class Row(NamedTuple):
    """One file of an entry.

    Attributes:
        path: Where it is.
        nbytes: How big it is.
        stamp: Its modification time, in nanoseconds: when it was used, how often.
    """

    path: str
    nbytes: int
    stamp: int


def rows(folder: str) -> Iterator[Row]:
    """Yield all entries that there are, in no order."""
    for shard in _scanned(folder):
        if _FOLDER.fullmatch(shard.name):
            for each in _scanned(shard.path):
                if _ENTRY.fullmatch(each.name):
                    with suppress(OSError):  # gone already
                        found = each.stat(follow_symlinks=False)
                        yield Row(each.path, found.st_size, found.st_mtime_ns)


def strays(folder: str) -> Iterator[str]:
    """Yield the files that are nothing of ours, and temporary ones of nobody."""
    for shard in _scanned(folder):
        if _FOLDER.fullmatch(shard.name):
            for each in _scanned(shard.path):
                if not _ENTRY.fullmatch(each.name):
                    yield each.path
        elif shard.name not in _OURS:
            yield shard.path
    for each in _scanned(f"{folder}/tmp"):
        if _is_abandoned(each.path):
            yield each.path


def _scanned(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _is_abandoned(path: str) -> bool:
    """Tell whether nobody writes to a temporary file: the lock of a process dies too."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if abs(time.time() - os.fstat(descriptor).st_mtime) < _YOUNG:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def sweep(folder: str) -> int:
    """Remove temporary files that nobody writes to any more; say how many."""
    removed = 0
    for each in _scanned(f"{folder}/tmp"):
        if _is_abandoned(each.path):
            removed += remove(each.path)
    return removed


def shrink(folder: str, most: int) -> tuple[int, int]:
    """Remove the entries that were not used for longest until the rest is small enough.

    Who has mapped one keeps it.

    Args:
        folder: Where the entries are.
        most: How many bytes may be left.

    Returns:
        How many entries were removed, and how many bytes are left.
    """
    found = list(rows(folder))
    total = sum(row.nbytes for row in found)
    removed = 0
    if total > most:
        found.sort(key=lambda row: row.stamp)
        for row in found:
            if total <= most:
                break
            if remove(row.path):
                removed += 1
                total -= row.nbytes
    return removed, total


def remove(path: str) -> bool:
    """Remove a file; False if it is gone already, or can't be removed."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


class Room:
    """Keeps the entries of a folder below a limit. Thread-safe, across processes."""

    def __init__(self, folder: str, limit: int) -> None:
        """Watch over a folder."""
        self._folder = folder
        self._limit = limit
        # What could not be counted since another one was counting.
        self._uncounted = 0

    def taken(self, nbytes: int) -> None:
        """Some bytes have come; never raises."""
        self._uncounted += nbytes
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(f"{self._folder}/room", flags, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            come = self._come(descriptor)
            uncounted, self._uncounted = self._uncounted, 0
            come += uncounted
            if come > self._limit // _SHARE:
                sweep(self._folder)
                shrink(self._folder, self._limit - self._limit // _SHARE)
                come = 0
            os.pwrite(descriptor, _STATE.pack(come, self._limit), 0)
        except OSError:
            pass  # another one counts just now
        finally:
            os.close(descriptor)

    def _come(self, descriptor: int) -> int:
        state = os.pread(descriptor, _STATE.size, 0)
        if len(state) == _STATE.size:
            come, limit = _STATE.unpack(state)
            if limit == self._limit:
                return int(come)
        return self._limit  # not known: count
