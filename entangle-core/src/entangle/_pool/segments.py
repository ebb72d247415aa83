"""The shared memory of this process's pool: which block is where, and who has it.

A *segment* is a file in memory; a *block* is a range of one. Small blocks are cut out
of segments that many share, a large one has a segment of its own. Memory that was used
before is used again, since new pages cost five times what writing to old ones does.

When that may be is what this module is about: a receiver maps a block privately, and
would see in it what is written later on. So each reference that is sent is counted, by
who it is sent to, and each is told of when its last mapping has ended, or ends with its
process and all that descends from it. Where a process may have passed a mapping on to a
child that nobody waits for, the block is *spoiled*: it is never used again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections import defaultdict
from functools import partial
from mmap import PAGESIZE
from typing import TYPE_CHECKING, Any

from entangle._log import Log
from entangle._worker import frames, pieces
from entangle._worker.pieces import Hold, Piece, Place

from . import room

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Sequence

log = Log("entangle.pool")

_UNUSABLE = "shared memory can't be used (%s): arrays are copied through streams, which is slower"
ARENA = (
    64 << 20
)  # bytes of a segment for many blocks, and from which a block has its own
MOST_ARENA = 1 << 30
_SECTOR = 512  # bytes that stat counts in
HERE = 0  # this process, among those who hold blocks

# Of all pools of this process: what is told late must not mean another block.
_numbers = itertools.count(1)


class Segment:
    """A file in memory. Owns its descriptor."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("entangle", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.descriptor, size)
            self.inode = os.fstat(self.descriptor).st_ino
        except BaseException:
            os.close(self.descriptor)
            raise
        self.pid = os.getpid()
        self.free: list[tuple[int, int]] = [(0, size)]  # ranges, in order
        self.used = 0  # up to where there is memory behind it
        self.blocks = 0
        self.writers: set[Hashable] = set()
        self.spoiled = False
        self.idle_since = 0.0

    @property
    def key(self) -> tuple[int, int]:
        """What it is known under elsewhere."""
        return self.pid, self.inode

    def take(self, index: int, nbytes: int) -> int:
        """Take bytes from one of the free ranges; return where they begin."""
        start, length = self.free[index]
        if length == nbytes:
            del self.free[index]
        else:
            self.free[index] = (start + nbytes, length - nbytes)
        return start

    def put_back(self, start: int, nbytes: int) -> None:
        """Add a range to the free ones, joined with its neighbours."""
        joined: list[tuple[int, int]] = []
        for first, length in sorted([*self.free, (start, nbytes)]):
            if joined and sum(joined[-1]) == first:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((first, length))
        self.free = joined

    def promised(self) -> int:
        """Return how many bytes were handed out that have no memory behind them yet.

        The kernel finds it when they are written to, and counts it only then.
        """
        return max(0, self.used - os.fstat(self.descriptor).st_blocks * _SECTOR)

    def close(self) -> None:
        """Give the memory back, but to those who map it still."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            if not self.spoiled and not self.blocks:
                # Also from under the mappings that others have for writing to it.
                os.ftruncate(descriptor, 0)
            os.close(descriptor)


class Block:
    """A range of a segment, and how many references to it each holder has."""

    __slots__ = ("holders", "nbytes", "number", "segment", "spoiled", "start")

    def __init__(self, segment: Segment, start: int, nbytes: int) -> None:
        self.number = next(_numbers)
        self.segment = segment
        self.start = start
        self.nbytes = nbytes
        self.holders: dict[Hashable, int] = {}
        self.spoiled = False

    def place(self) -> Place:
        """Return where it is, for others."""
        segment = self.segment
        return Place(
            self.number, self.start, segment.inode, segment.pid, segment.descriptor
        )


class Segments:
    """All segments of this process's pool. Thread-safe; its lock is held by nobody else.

    Args:
        closed: told of segments that nobody uses any more, and that are to be closed
            (`Segment.close`, which takes its time) after those who have them mapped
            for writing were told.
        idle: told that a segment is not in use any more, but kept.
        most_idle: how many bytes of unused memory are kept; a quarter of what is
            available by default.
    """

    def __init__(
        self,
        closed: Callable[[Segment], None],
        idle: Callable[[], None] | None = None,
        most_idle: int | None = None,
    ) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._closed = closed
        # What is done when the lock is free again, since it calls out.
        self._after: list[Callable[[], None]] = []
        self._segments: list[Segment] = []
        self._blocks: dict[int, Block] = {}
        self._lent: defaultdict[Hashable, set[int]] = defaultdict(set)
        self._most_idle = most_idle
        self._warned = False

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        try:
            with self._lock:
                yield
        finally:
            while self._after:
                self._after.pop()()

    # -- handing out -------------------------------------------------------------

    def grant(self, holder: Hashable, nbytes: int) -> tuple[Place, int, int] | None:
        """Give somebody a block to write to.

        Returns:
            Where it is, its size, and that of its segment; None where shared memory
            can't be used.

        Raises:
            MemoryError: there is not so much memory.
        """
        size = -(-max(nbytes, 1) // PAGESIZE) * PAGESIZE
        self.collect()
        with self._locked():
            try:
                block = self._cut(holder, size)
            except OSError as error:
                self._refused(str(error))
                return None
            block.holders[holder] = 1
            self._lent[holder].add(block.number)
            self._blocks[block.number] = block
            block.segment.blocks += 1
            block.segment.writers.add(holder)
            return block.place(), size, block.segment.size

    def _cut(self, holder: Hashable, size: int) -> Block:
        """Find room for a block. Under the lock."""
        found = (
            self._large(holder, size) if size >= ARENA else self._small(holder, size)
        )
        if found is None:
            self._require(size)
            segment = Segment(size if size >= ARENA else self._arena())
            self._segments.append(segment)
            found = segment, 0
        segment, index = found
        start, _ = segment.free[index]
        if start + size > segment.used:
            if segment.used:
                self._require(start + size - segment.used)
            segment.used = start + size
        return Block(segment, segment.take(index, size), size)

    def _large(self, holder: Hashable, size: int) -> tuple[Segment, int] | None:
        fitting = [
            segment
            for segment in self._segments
            if segment.size >= ARENA
            and not segment.blocks
            and not segment.spoiled
            and size <= segment.size <= 2 * size
        ]
        if not fitting:
            return None
        return min(fitting, key=lambda s: (holder not in s.writers, s.size)), 0

    def _small(self, holder: Hashable, size: int) -> tuple[Segment, int] | None:
        for mine in (True, False):
            for segment in self._segments:
                if (holder in segment.writers) is mine and not segment.spoiled:
                    for index, (_, length) in enumerate(segment.free):
                        if length >= size:
                            return segment, index
        return None

    def _arena(self) -> int:
        """Return the size of the next segment for many; descriptors are few."""
        doublings = len(self._segments) // 8
        return min(ARENA << min(doublings, 8), MOST_ARENA)

    def _require(self, nbytes: int) -> None:
        """Make sure that there is memory. Under the lock."""
        left = self._left()
        if nbytes > left:
            for segment in [s for s in self._segments if not s.blocks]:
                self._drop(segment)
                segment.close()
            left = self._left()
        if nbytes > left:
            raise MemoryError(
                f"{nbytes:,} bytes of shared memory are needed, and {left:,} are "
                "available: use less at once, or a machine that has more"
            )

    def _left(self) -> int:
        """Return how much memory nobody has, nor was promised. Under the lock."""
        promised = sum(segment.promised() for segment in self._segments)
        return max(0, room.available() - promised)

    def refused(self, why: str) -> None:
        """Take note that shared memory can't be used; warn once."""
        with self._locked():
            self._refused(why)

    def _refused(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._after.append(partial(log.warning, _UNUSABLE, why))

    # -- counting ----------------------------------------------------------------

    def lend(self, holder: Hashable, buffers: Iterable[Any]) -> None:
        """Take note that somebody is about to be sent references."""
        for buffer in buffers:
            if type(buffer) is Piece:
                with self._locked():
                    self._lend(holder, self._blocks[buffer.place.block])

    def _lend(self, holder: Hashable, block: Block) -> None:
        block.holders[holder] = block.holders.get(holder, 0) + 1
        self._lent[holder].add(block.number)

    def lend_block(self, holder: Hashable, number: int) -> tuple[Place, int, int]:
        """Give somebody a block that others have; as `grant`.

        Raises:
            KeyError: nobody has it any more.
        """
        with self._locked():
            block = self._blocks[number]
            self._lend(holder, block)
            return block.place(), block.nbytes, block.segment.size

    def accept(self, holder: Hashable, frame: frames.Frame) -> None:
        """Put pieces in the place of the references that somebody has sent.

        Raises:
            ProtocolError: it has no such thing.
        """
        buffers: list[Any] = []
        for buffer, mark in zip(frame.buffers, frame.marks, strict=True):
            if not mark & frames.REFERENCE:
                buffers.append(buffer)
                continue
            offset, nbytes, number, *_ = pieces.REFERENCE.unpack(buffer)
            with self._locked():
                block = self._blocks.get(number)
                if (
                    block is None
                    or holder not in block.holders
                    or offset + nbytes > block.nbytes
                ):
                    raise frames.ProtocolError("a reference to shared memory of others")
                self._lend(HERE, block)
                place = block.place()
            hold = Hold(number)
            buffers.append(
                Piece(
                    place, offset, nbytes, hold, readonly=bool(mark & frames.READONLY)
                )
            )
        frame.buffers = tuple(buffers)

    def released(self, holder: Hashable, numbers: Sequence[int]) -> None:
        """Take note that references have ended; negative: with children left."""
        with self._locked():
            for number in numbers:
                block = self._blocks.get(abs(number))
                if block is None or holder not in block.holders:
                    continue  # of a pool before this one
                block.spoiled |= number < 0
                block.holders[holder] -= 1
                if not block.holders[holder]:
                    self._let_go(holder, block)

    def gone(self, holder: Hashable, *, alone: bool = True) -> None:
        """Take note that a holder has ended, with all its descendants or without."""
        with self._locked():
            for number in self._lent.pop(holder, set[int]()):
                block = self._blocks[number]
                block.spoiled |= not alone
                self._let_go(holder, block)
            for segment in self._segments:
                segment.writers.discard(holder)

    def _let_go(self, holder: Hashable, block: Block) -> None:
        del block.holders[holder]
        self._lent[holder].discard(block.number)
        if not self._lent[holder]:
            del self._lent[holder]
        if block.holders:
            return
        del self._blocks[block.number]
        segment = block.segment
        segment.blocks -= 1
        if block.spoiled:
            segment.spoiled = True
        else:
            segment.put_back(block.start, block.nbytes)
        if not segment.blocks:
            segment.idle_since = time.monotonic()
            if segment.spoiled:
                self._drop(segment)
            else:
                self._bound()
                if self._idle is not None:
                    self._after.append(self._idle)

    def collect(self) -> None:
        """Take note of what has ended in this process."""
        ended = pieces.released
        pieces.told[0] = False  # first, so that what comes from now on is told of
        numbers: list[int] = []
        while ended:
            numbers.append(ended.popleft())
        if numbers:
            self.released(HERE, numbers)

    # -- giving back -------------------------------------------------------------

    def _bound(self) -> None:
        """Keep not too much memory that nobody uses."""
        idle = [segment for segment in self._segments if not segment.blocks]
        idle.sort(key=lambda segment: segment.idle_since)
        if self._most_idle is None:
            self._most_idle = room.available() // 4
        excess = sum(segment.used for segment in idle) - self._most_idle
        for segment in idle:
            if excess <= 0:
                return
            excess -= segment.used
            self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        self._segments.remove(segment)
        self._after.append(partial(self._closed, segment))

    def trim(self, before: float) -> float | None:
        """Close segments that nobody has used since a time of `time.monotonic`.

        Returns:
            Since when another one is unused; None if there is none.
        """
        self.collect()
        with self._locked():
            idle = [segment for segment in self._segments if not segment.blocks]
            for segment in idle:
                if segment.idle_since <= before:
                    self._drop(segment)
            return min(
                (s.idle_since for s in idle if s.idle_since > before), default=None
            )

    def close(self) -> None:
        """Close everything; what is mapped stays mapped."""
        with self._locked():
            for segment in list(self._segments):
                self._drop(segment)
                segment.close()

    def abandon(self) -> None:
        """Let go of descriptors that are closed otherwise: in a forked child."""
        for segment in self._segments:
            segment.descriptor = -1

    def descriptors(self) -> list[int]:
        """Return what is open here."""
        return [segment.descriptor for segment in self._segments]

    def usage(self) -> tuple[int, int, int]:
        """Return the number of blocks, their bytes, and the bytes of all segments."""
        self.collect()
        with self._locked():
            in_use = sum(block.nbytes for block in self._blocks.values())
            return len(self._blocks), in_use, sum(s.used for s in self._segments)
