"""The entries of one directory: found, written, counted.

An entry appears whole or not at all: it is written beside the others and then renamed.
It is never changed after that, so whoever has mapped it keeps what it has; only its
modification time is set: to when it was used last, with how often in the lowest bits.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from . import entry
from .room import Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entangle._worker.codec import Buffer

HITS_BITS: Final = 20
_MOST_HITS: Final = (1 << HITS_BITS) - 1
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

# macOS has only the other one.
_sync = getattr(os, "fdatasync", os.fsync)
_opened: dict[tuple[str, int], Store] = {}
_count = itertools.count(1).__next__


class Found(NamedTuple):
    """An entry that was found.

    Attributes:
        data: The pickle.
        buffers: Memory for one object.
        spare: The same memory once more, for who must not see what is done to the
            first; not mapped unless it was asked for.
        identity: Tells the entry from all others.
        nbytes: How big it is.
    """

    data: bytes
    buffers: list[Buffer]
    spare: list[Buffer]
    identity: bytes
    nbytes: int


class Store:
    """The entries of one folder. Thread-safe, and safe for any number of processes.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: str, limit: int) -> None:
        """Use a folder, which need not exist.

        Args:
            folder: Where the entries are.
            limit: How many bytes they may take together.
        """
        self.folder = folder
        self._limit = limit
        self._room = Room(folder, limit)

    def path(self, key: bytes) -> str:
        """Return the file of a key."""
        name = key.hex()
        return f"{self.folder}/{name[:2]}/{name[2:]}"

    def has(self, key: bytes) -> bool:
        """Tell whether there is a file for a key, without looking into it."""
        return os.path.lexists(self.path(key))

    def load(self, key: bytes, *, spare: bool = False) -> Found | None:
        """Find the entry of a key, and note that it was used.

        Returns:
            What was found; None if there is none, or none that is whole. One that is
            not is removed.
        """
        path = self.path(key)
        try:
            descriptor = os.open(path, _READ)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self.remove(key)
            return None
        try:
            content = entry.read(descriptor, key)
            found = Found(
                content.data,
                entry.buffers(descriptor, content),
                entry.buffers(descriptor, content) if spare else [],
                content.description.identity,
                content.total,
            )
            self._used(descriptor)
        except entry.Damaged:
            self.remove(key)
            return None
        except (OSError, MemoryError):
            return None
        finally:
            os.close(descriptor)
        return found

    def remove(self, key: bytes) -> None:
        """Remove the entry of a key."""
        with suppress(OSError):
            os.unlink(self.path(key))

    def save(
        self,
        key: bytes,
        task: str,
        module: str,
        data: Buffer,
        buffers: Sequence[Buffer],
    ) -> bytes:
        """Write an entry; when this returns, every program finds it.

        Returns:
            What tells the entry from all others.

        Raises:
            OSError: there is no room, or no right to write.
        """
        identity = os.urandom(16)
        description = entry.Description(key, identity, task, module, time.time(), 0, ())
        head, description, total = entry.section(description, data, buffers)
        if total > self._limit:
            raise OSError(
                errno.EFBIG, f"{total:,} bytes are more than all entries may take"
            )
        try:
            self._write(key, head, description, buffers)
        except FileNotFoundError:
            # Removed meanwhile: the directory, or the file by who took it for stray.
            self._write(key, head, description, buffers)
        self._room.taken(total)
        return identity

    def _write(
        self,
        key: bytes,
        head: bytes,
        description: entry.Description,
        buffers: Sequence[Buffer],
    ) -> None:
        path = self.path(key)
        for folder in (os.path.dirname(path), f"{self.folder}/tmp"):
            if not os.path.isdir(folder):
                self._make(folder)
        temporary = f"{self.folder}/tmp/{os.getpid()}-{_count()}-{os.urandom(4).hex()}"
        descriptor = os.open(temporary, _WRITE, 0o600)
        try:
            try:
                # Whoever gets this lock knows that nobody writes here any more.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if entry.write(descriptor, head, description, buffers):
                    # What is not checked when it is read has to be there for good.
                    _sync(descriptor)
                stamp = self._tick() << HITS_BITS
                os.utime(descriptor, ns=(stamp, stamp))
                os.rename(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        finally:
            os.close(descriptor)

    def _make(self, folder: str) -> None:
        """Make a folder and those above it: each for this user alone."""
        os.makedirs(os.path.dirname(self.folder), mode=0o700, exist_ok=True)
        for each in (self.folder, folder):
            with suppress(FileExistsError):
                os.mkdir(each, 0o700)

    def _used(self, descriptor: int) -> None:
        """Count a hit, and remember when it was."""
        try:
            hits = os.fstat(descriptor).st_mtime_ns & _MOST_HITS
            stamp = self._tick() << HITS_BITS | min(hits + 1, _MOST_HITS)
            os.utime(descriptor, ns=(stamp, stamp))
        except (OSError, OverflowError):
            pass  # a directory that may only be read

    def _tick(self) -> int:
        """Return the time, later than any that was returned to any process before.

        In units of about a millisecond. Where the system's clock has been set back,
        this one waits for it.
        """
        clock = f"{self.folder}/clock"
        now = time.time_ns() >> HITS_BITS
        try:
            last = os.stat(clock).st_mtime_ns >> HITS_BITS
        except FileNotFoundError:
            os.close(os.open(clock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            last = 0
        stamp = max(now, last + 1)
        os.utime(clock, ns=(stamp << HITS_BITS, stamp << HITS_BITS))
        return stamp


def opened() -> Store:
    """Return the store that the environment asks for.

    Raises:
        CacheDirectoryError: it must not be used.
        OptionError: the environment makes no sense.
    """
    from . import directory

    asked = directory.checked(), directory.size()
    store = _opened.get(asked)
    if store is None:
        store = _opened[asked] = Store(*asked)
    return store
