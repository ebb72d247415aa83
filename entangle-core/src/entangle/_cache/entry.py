"""One kept value as a file: a checked section, then memory that is mapped as it is.

::

    magic 8 | digest 20 | length of the section 8 | length of the file 8
    section: length of the description 4 | description | pickle | small buffers
    zeros up to a page, big buffer, zeros up to a page, big buffer ...

The digest is of everything up to the section's end but itself. A hit reads no further:
big buffers are mapped, privately, and only the length of the file vouches for them.
"""

from __future__ import annotations

import marshal
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import mapping
from .tokens import checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entangle._worker.codec import Buffer

MAGIC: Final = b"ENTGLE\x01\n"
# Bytes from which a buffer is mapped: below, reading and checking it is as fast.
MAPPED: Final = 1 << 17
_PREFIX: Final = struct.Struct("<8s20sQQ")
_LENGTHS: Final = struct.Struct("<QQ")
_LENGTH: Final = struct.Struct("<I")
_PAGE: Final = mmap.PAGESIZE
_FIRST_READ: Final = 1 << 16
_MARSHAL: Final = 2
_NEVER_MAPPED: Final = -1


class Damaged(Exception):  # noqa: N818 - never reaches a user
    """A file that is no entry, or not the one that was looked for."""


class Description(NamedTuple):
    """What an entry says of itself.

    Attributes:
        key: The key of the call.
        identity: Tells this very file from all others.
        task: The name of the task.
        module: The module of its function.
        made: When it was kept, in seconds since the epoch.
        pickled: The length of the pickle, in bytes.
        buffers: Of each buffer its length in bytes, whether it was read-only, and
            where in the file it begins; -1 for one in the section.
    """

    key: bytes
    identity: bytes
    task: str
    module: str
    made: float
    pickled: int
    buffers: tuple[tuple[int, bool, int], ...]


class Content(NamedTuple):
    """What was read.

    Attributes:
        description: What the entry says of itself.
        data: The pickle.
        small: The buffers that were in the section, in order.
        total: The length of the file, in bytes.
        start: Where what is mapped begins.
    """

    description: Description
    data: bytes
    small: tuple[bytes, ...]
    total: int
    start: int


def section(
    description: Description, data: Buffer, buffers: Sequence[Buffer]
) -> tuple[bytes, Description, int]:
    """Lay an entry out.

    Args:
        description: With nothing in ``pickled`` and ``buffers`` yet.
        data: The pickle.
        buffers: Its buffers, flat.

    Returns:
        The file up to the end of its section, the complete description, the length
        of the whole file.
    """
    views = [memoryview(buffer) for buffer in buffers]
    # How long the description is depends on numbers that depend on how long it is:
    # offsets are relative to the first page after the section.
    relative = 0
    rows: list[tuple[int, bool, int]] = []
    for view in views:
        place = _NEVER_MAPPED
        if view.nbytes >= MAPPED:
            place = relative
            relative = _paged(relative + view.nbytes)
        rows.append((view.nbytes, view.readonly, place))
    description = description._replace(pickled=len(data), buffers=tuple(rows))
    text = marshal.dumps(tuple(description), _MARSHAL)
    small = [
        view for view, row in zip(views, rows, strict=True) if row[2] == _NEVER_MAPPED
    ]
    body = b"".join((_LENGTH.pack(len(text)), text, data, *small))
    last = max((row[2] + row[0] for row in rows if row[2] >= 0), default=-1)
    end = _PREFIX.size + len(body)
    total = _paged(end) + last if last >= 0 else end
    lengths = _LENGTHS.pack(len(body), total)
    head = _PREFIX.pack(MAGIC, checksum(lengths, body), len(body), total)
    return head + body, description, total


def _paged(place: int) -> int:
    return -(-place // _PAGE) * _PAGE


def read(descriptor: int, key: bytes | None = None) -> Content:
    """Read and check an entry, without what is mapped.

    Args:
        descriptor: An open file, at its begin.
        key: The key that it must have; None for any.

    Raises:
        Damaged: it is not whole, or another's.
        OSError: it can't be read.
    """
    head = os.read(descriptor, _FIRST_READ)
    if len(head) < _PREFIX.size:
        raise Damaged("too short")
    magic, digest, length, total = _PREFIX.unpack_from(head)
    end = _PREFIX.size + length
    size = os.fstat(descriptor).st_size
    if magic != MAGIC or total != size or end > total:
        raise Damaged("not an entry of this size")
    whole = head if len(head) >= end else _rest(descriptor, head, end)
    body = memoryview(whole)[_PREFIX.size : end]
    if checksum(_LENGTHS.pack(length, total), body) != digest:
        raise Damaged("changed")
    (text,) = _LENGTH.unpack_from(body)
    place = _LENGTH.size + text
    description = Description(*marshal.loads(body[_LENGTH.size : place]))  # noqa: S302 - checked above
    if key is not None and description.key != key:
        raise Damaged("under another's name")
    data = bytes(body[place : place + description.pickled])
    place += description.pickled
    small: list[bytes] = []
    for nbytes, _, offset in description.buffers:
        if offset == _NEVER_MAPPED:
            small.append(bytes(body[place : place + nbytes]))
            place += nbytes
    return Content(description, data, tuple(small), total, _paged(end))


def _rest(descriptor: int, head: bytes, end: int) -> bytes:
    """Read on up to the end of the section."""
    parts = [head]
    missing = end - len(head)
    while missing > 0:
        part = os.read(descriptor, missing)
        if not part:
            raise Damaged("too short")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def buffers(descriptor: int, content: Content) -> list[Buffer]:
    """Return the buffers of an entry, as memory that belongs to the caller.

    Those that are mapped are copied page by page as they are written to, and stay
    when the file is removed.

    Raises:
        Damaged: the file has become shorter.
        OSError: it can't be read.
    """
    rows = content.description.buffers
    if not rows:
        return []
    memory: Any = None
    if content.start < content.total:
        memory = _memory(descriptor, content)
    small = iter(content.small)
    found: list[Buffer] = []
    for nbytes, readonly, offset in rows:
        if offset == _NEVER_MAPPED:
            data = next(small)
            found.append(data if readonly else bytearray(data))
            continue
        view = memoryview(memory).cast("B")[offset : offset + nbytes]
        found.append(view.toreadonly() if readonly else view)
    return found


def _memory(descriptor: int, content: Content) -> Any:
    length = content.total - content.start
    try:
        return mapping.private(descriptor, length, content.start)
    except (OSError, ValueError):
        # There may be a limit on mappings, or none may be had of this file system.
        memory = bytearray(length)
        view, done = memoryview(memory), 0
        while done < length:
            count = os.preadv(descriptor, [view[done:]], content.start + done)
            if not count:
                raise Damaged("too short") from None
            done += count
        return memory


def write(descriptor: int, head: bytes, rows: Description, parts: Sequence[Any]) -> int:
    """Write an entry as `section` has laid it out.

    Args:
        descriptor: An empty file.
        head: The file up to the end of its section.
        rows: The complete description.
        parts: All buffers.

    Returns:
        How many bytes were written behind the section.

    Raises:
        OSError: there is no room.
    """
    _write(descriptor, head, 0)
    start, written = _paged(len(head)), 0
    for buffer, (nbytes, _, offset) in zip(parts, rows.buffers, strict=True):
        if offset != _NEVER_MAPPED:
            _write(descriptor, buffer, start + offset)
            written += nbytes
    return written


def _write(descriptor: int, data: Any, place: int) -> None:
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done : done + (1 << 30)], place + done)
