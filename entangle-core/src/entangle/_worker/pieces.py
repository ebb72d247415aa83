"""References to buffers in shared memory, as parts of encoded values.

A *block* is a range of a file in memory; the process that started the workers owns all
of them. Whoever is sent a reference to a block holds it: the owner counts what it has
sent, the holder tells of each `Hold` that has ended, and until the two agree nothing
is written to the block again.
"""

from __future__ import annotations

import sys
from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence
    from typing import Any, Union

    from .frames import Frame
    from .memory import Grant

    Buffer = Union[bytes, bytearray, memoryview]
else:
    # As in `main`.
    from _collections import deque

# Of a piece: offset in its block, length. Of the block: its number, where it begins in
# its file. Of the file: its inode, the process that has it open, its descriptor there.
REFERENCE = Struct("<QQQQQQQ")

_REFERENCE = 2  # as in `frames`

# From this many bytes on, the buffers of a value travel through shared memory: a stream
# takes as long for them, and twice as long for twice as many.
LEAST = 1 << 17

# What has ended in this process and was not told yet: numbers of blocks, negative if a
# process that was forked meanwhile may see the block still.
released: deque[int] = deque()
# Called when there is something, by whatever thread: once, until it is looked at.
told = [False]
on_release: list[Callable[[], None]] = []
# How often this process was forked.
forks = [0]
# Whether its children outlive what it does, so that it can't know what they see.
outlived = [False]


class Source:
    """Where this process gets blocks from; set by what knows their owner.

    Attributes:
        ask: Returns leave to write to a block of so many bytes, None where shared
            memory can't be used; raises MemoryError.
        failed: Told why shared memory that was granted could not be used.
        share: Returns a name and leave to write to a block that lives until the run
            ends; else as `ask`.
        find: Returns the size of what has a name, and leave to write to its block;
            None if there is none.
    """

    ask: Callable[[int], Grant | None] | None = None
    failed: Callable[[str], None] | None = None
    share: Callable[[int], tuple[str, Grant] | None] | None = None
    find: Callable[[str], tuple[int, Grant] | None] | None = None

    @classmethod
    def clear(cls) -> None:
        """Have none."""
        cls.ask = cls.failed = cls.share = cls.find = None


class Hold:
    """One reference to a block that this process was sent."""

    __slots__ = ("_block", "_forks")

    def __init__(self, block: int) -> None:
        """Begin; the owner has counted it already."""
        self._block = block
        self._forks = forks[0]

    # What it needs is bound to it: modules may be empty when a process ends.
    def __del__(
        self,
        _released: deque[int] = released,
        _actions: list[Callable[[], None]] = on_release,
        _forks: list[int] = forks,
        _outlived: list[bool] = outlived,
        _told: list[bool] = told,
    ) -> None:
        """Have the owner told."""
        spoiled = _outlived[0] and self._forks != _forks[0]
        _released.append(-self._block if spoiled else self._block)
        if not _told[0]:
            _told[0] = True
            for action in _actions:
                action()


class Place:
    """Where a block is: number, offset, inode of its file, process, descriptor."""

    __slots__ = ("block", "descriptor", "inode", "pid", "start")

    def __init__(
        self, block: int, start: int, inode: int, pid: int, descriptor: int
    ) -> None:
        """Hold the block's number, its offset in its file, and how to open that."""
        self.block = block
        self.start = start
        self.inode = inode
        self.pid = pid
        self.descriptor = descriptor

    def fields(self) -> tuple[int, ...]:
        """Return what to send of it."""
        return self.block, self.start, self.inode, self.pid, self.descriptor


class Piece:
    """A range of a block, in the place of a buffer.

    It never changes while anybody holds it.
    """

    __slots__ = ("hold", "nbytes", "offset", "place", "readonly")

    def __init__(
        self,
        place: Place,
        offset: int,
        nbytes: int,
        hold: Any,
        *,
        readonly: bool,
    ) -> None:
        """Refer to ``nbytes`` bytes from ``offset`` of the block on."""
        self.place = place
        self.offset = offset
        self.nbytes = nbytes
        self.hold = hold
        self.readonly = readonly

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self.nbytes

    def reference(self) -> bytes:
        """Return what to send of it."""
        return REFERENCE.pack(self.offset, self.nbytes, *self.place.fields())


def resolve(frame: Frame) -> None:
    """Put pieces in the place of the references that a frame has brought."""
    frame.buffers = tuple(
        [
            _piece(buffer, mark) if mark & _REFERENCE else buffer
            for buffer, mark in zip(frame.buffers, frame.marks)
        ]
    )


def _piece(reference: Buffer, mark: int) -> Piece:
    offset, nbytes, *fields = REFERENCE.unpack(reference)
    place = Place(*fields)
    return Piece(place, offset, nbytes, Hold(place.block), readonly=bool(mark & 1))


def forked() -> None:
    """Take note that this process is about to be forked."""
    memory = sys.modules.get("entangle._worker.memory")
    if memory is not None and hasattr(memory, "part"):  # a thread may be importing it
        memory.part()
    forks[0] += 1


def large(buffers: Sequence[Any]) -> bool:
    """Tell whether buffers that are no pieces yet belong into shared memory."""
    total = 0
    for buffer in buffers:
        if type(buffer) is not Piece:
            total += memoryview(buffer).nbytes
    return total >= LEAST
