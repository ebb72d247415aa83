"""Buffers in shared memory: put there once, mapped by whoever is sent them.

Every receiver maps a block privately, so that its array is its own without being
copied. A private mapping shows what is written to the block later on in all pages that
it has not written to itself: so nothing is, see `pieces`.

What this process puts into blocks it writes through one shared mapping for each file,
which stays, since mapping memory costs as much as copying it. An array that a program
has made in such a mapping (`allocate`) must not change any more when it is sent: if the
program still has it then, a private mapping takes its place.
"""

from __future__ import annotations

import _thread
import os
import weakref
from _bisect import bisect_right

from . import mapping, pieces, sharing
from .pieces import Hold, Piece, Place, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Union

    Buffer = Union[bytes, bytearray, memoryview]
    _Range = tuple[int, int, int, int]

_MOST_SPARE = 64  # ranges, of which mappings are kept
_ALIGNMENT = 64  # bytes: what processors and numerical libraries like best


class Grant:
    """Leave to write to a block that nobody else has.

    Attributes:
        place: Where it is.
        nbytes: Its size, in bytes: whole pages.
        size: The size of the file that it is in.
        hold: What keeps it.
    """

    __slots__ = ("hold", "nbytes", "place", "size")

    def __init__(self, place: Place, nbytes: int, size: int) -> None:
        """Take note of it; the owner has counted it already."""
        self.place = place
        self.nbytes = nbytes
        self.size = size
        self.hold = Hold(place.block)


class _Writable:
    """A file of blocks as this process writes to it."""

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size
        self.pid = os.getpid()
        self.warm = 0  # up to where writing can't fail for want of memory
        self.made: set[int] = set()  # addresses of buffers that were made in it
        self.forgotten = False


class _Region:
    """A part of a block that objects of this process lie in."""

    __slots__ = (
        "__weakref__",
        "address",
        "dead",
        "forks",
        "hold",
        "nbytes",
        "offset",
        "place",
        "private",
    )

    def __init__(
        self,
        address: int,
        nbytes: int,
        place: Place,
        offset: int,
        hold: Any,
        *,
        private: bool,
    ) -> None:
        self.address = address
        self.nbytes = nbytes
        self.place = place
        self.offset = offset
        self.hold = hold
        self.private = private
        self.dead = False
        self.forks = pieces.forks[0]


_writable: dict[tuple[int, int], _Writable] = {}
# What this process was sent and what it has made, by address.
_regions: dict[int, _Region] = {}
# Private mappings that nothing lies in, by file, offset and size. Who takes an address
# out of a list owns the mapping; the list may be out of the dictionary by then.
_spare: dict[_Range, list[int]] = {}
# What was made, is sent next, and can still be changed.
_unsealed: list[weakref.ref[_Region]] = []
_sealing = _thread.allocate_lock()


def _opened(place: Place) -> int:
    """Open a file of blocks.

    Raises:
        OSError: it can't be opened, or is another one by now.
    """
    descriptor = os.open(
        f"/proc/{place.pid}/fd/{place.descriptor}", os.O_RDWR | os.O_CLOEXEC
    )
    if os.fstat(descriptor).st_ino != place.inode:
        os.close(descriptor)
        raise OSError("shared memory that is gone")
    return descriptor


# -- receiving -------------------------------------------------------------------


def as_buffers(parts: Sequence[Any]) -> list[Buffer]:
    """Return buffers with mappings of their own in the place of pieces.

    Raises:
        OSError: they can't be mapped.
    """
    found: dict[int, list[Piece]] = {}
    for part in parts:
        if type(part) is Piece:
            found.setdefault(part.place.block, []).append(part)
    # One mapping for all that lie in one block: systems allow 65,530.
    whole = {block: _mapped(group) for block, group in found.items()}
    buffers: list[Buffer] = []
    for part in parts:
        if type(part) is Piece:
            first, view = whole[part.place.block]
            view = view[part.offset - first : part.offset - first + part.nbytes]
            buffers.append(view.toreadonly() if part.readonly else view)
        else:
            buffers.append(part)
    return buffers


def _mapped(group: list[Piece]) -> tuple[int, memoryview]:
    """Map what pieces of one block span; return where it begins, and a view of it."""
    place = group[0].place
    first = min(piece.offset for piece in group) // mapping.PAGE * mapping.PAGE
    nbytes = mapping.pages(max(piece.offset + piece.nbytes for piece in group) - first)
    key = place.pid, place.inode, place.start + first, nbytes
    address = _take_spare(key)
    if address is None:
        descriptor = _opened(place)
        try:
            address = mapping.map_range(descriptor, key[2], nbytes, private=True)
        finally:
            os.close(descriptor)
    holds = tuple([piece.hold for piece in group])
    _regions[address] = _Region(address, nbytes, place, first, holds, private=True)
    del holds

    def gone() -> None:
        region = _regions.pop(address, None)
        _keep_spare(key, address)
        del region  # only now: whoever is told may write to it

    return first, mapping.view(address, nbytes, gone)


def _take_spare(key: _Range) -> int | None:
    """Return an untouched mapping of a range that nothing lies in; it is the taker's."""
    addresses = _spare.get(key)
    try:
        return addresses.pop() if addresses else None
    except IndexError:
        return None  # another thread was faster


def _keep_spare(key: _Range, address: int) -> None:
    """Keep a mapping that nothing lies in any more, or end it.

    What was not written to in this process shows whatever is in the block: also what
    comes there next. Using the mapping for that saves mapping page after page again.
    """
    nbytes = key[3]
    if mapping.own_pages(address, nbytes):
        mapping.unmap(address, nbytes)
        return
    while len(_spare) >= _MOST_SPARE:
        try:
            oldest = next(iter(_spare))
        except (StopIteration, RuntimeError):
            break  # another thread is at it
        _drop_spare(oldest)
    addresses = _spare.setdefault(key, [])
    addresses.append(address)
    if _spare.get(key) is not addresses:
        # Another thread has dropped them meanwhile, maybe not this one.
        _end_all(addresses, key[3])


def _drop_spare(key: _Range) -> None:
    _end_all(_spare.pop(key, []), key[3])


def _end_all(addresses: list[int], nbytes: int) -> None:
    while addresses:
        try:
            address = addresses.pop()
        except IndexError:
            return  # another thread was faster
        mapping.unmap(address, nbytes)


# -- making ----------------------------------------------------------------------


def allocate(nbytes: int) -> memoryview | None:
    """Make a buffer in shared memory, zeros or not.

    Args:
        nbytes: its size, in bytes, at least 1.

    Returns:
        It, writable; None where shared memory can't be used.

    Raises:
        MemoryError: there is not so much memory.
    """
    grant = _granted(nbytes)
    if grant is None:
        return None
    address, place, size = _writable_at(grant), grant.place, grant.nbytes
    file = _writable[place.pid, place.inode]
    file.made.add(address)
    _regions[address] = _Region(address, size, place, 0, grant.hold, private=False)
    del grant

    def gone() -> None:
        region = _regions.get(address)
        if region is not None and region.place is place:
            del _regions[address]
            region.dead = True
            if region.private:
                _share_again(file, region)
        file.made.discard(address)
        if file.forgotten and not file.made:
            mapping.unmap(file.address, file.size)

    return mapping.view(address, size, gone)[:nbytes]


def _granted(nbytes: int) -> Grant | None:
    """Ask for a block and get the memory for it."""
    ask = Source.ask
    if ask is None:
        return None
    grant = ask(nbytes)
    if grant is None:
        return None
    try:
        _writable_at(grant)
    except OSError as error:
        if Source.failed is not None:
            Source.failed(str(error))
        return None
    return grant


def _writable_at(grant: Grant) -> int:
    """Return where this process can write to a block.

    Raises:
        OSError: nowhere, or there is no memory for it.
    """
    place = grant.place
    key = place.pid, place.inode
    file = _writable.get(key)
    end = place.start + grant.nbytes
    if file is not None and end <= file.warm:
        return file.address + place.start
    descriptor = _opened(place)
    try:
        if file is None:
            address = mapping.map_range(descriptor, 0, grant.size, private=False)
            file = _writable[key] = _Writable(address, grant.size)
        address = file.address + place.start
        mapping.populate(address, grant.nbytes, descriptor, place.start)
    finally:
        os.close(descriptor)
    if place.start <= file.warm:
        file.warm = end
    return address


def _share_again(file: _Writable, region: _Region) -> None:
    """Make a range writable again that was private to a value."""
    if file.pid != os.getpid() or file.forgotten:
        return
    place = region.place
    file.warm = min(file.warm, place.start)
    try:
        _replace(region, private=False)
    except OSError:
        forget([(place.pid, place.inode)])


def _replace(region: _Region, *, private: bool) -> None:
    descriptor = _opened(region.place)
    try:
        mapping.map_range(
            descriptor,
            region.place.start,
            region.nbytes,
            private=private,
            at=region.address,
        )
    finally:
        os.close(descriptor)


def forget(files: Iterable[tuple[int, int]]) -> None:
    """Unmap files of which no block is in use any more."""
    for key in files:
        for spare in [spare for spare in list(_spare) if spare[:2] == key]:
            _drop_spare(spare)
        file = _writable.pop(key, None)
        if file is not None:
            file.forgotten = True
            if not file.made:
                mapping.unmap(file.address, file.size)


def close() -> None:
    """Take what is mapped for ordinary memory: its owner has ended."""
    _regions.clear()
    _unsealed.clear()
    forget({*_writable, *[key[:2] for key in _spare]})


def start_over() -> None:
    """Let go of what belongs to the process that this one was forked from."""
    global _sealing  # noqa: PLW0603 - a thread that is not here may hold the old one
    _sealing = _thread.allocate_lock()
    _writable.clear()
    _spare.clear()
    _regions.clear()
    _unsealed.clear()
    pieces.released.clear()
    pieces.on_release.clear()


# -- sharing ---------------------------------------------------------------------


def share(nbytes: int) -> tuple[str, memoryview]:
    """Make memory that others can find by its name until the run ends; zeros.

    Raises:
        MemoryError: there is not so much.
        OSError: shared memory can't be used here.
    """
    found = None if Source.share is None else Source.share(nbytes)
    if found is None:
        raise OSError("shared memory can't be used here: there are no files in memory")
    name, grant = found
    view = _attached(grant, nbytes)
    del found, grant
    sharing.zero(view)
    return name, view


def find(name: str) -> memoryview:
    """Return memory of this run by its name.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    found = None if Source.find is None else Source.find(name)
    if found is None:
        raise sharing.unknown(name)
    nbytes, grant = found
    return _attached(grant, nbytes)


def _attached(grant: Grant, nbytes: int) -> memoryview:
    """Map a block for reading and writing, as everybody else that has it."""
    place, size, holds = grant.place, grant.nbytes, [grant.hold]
    del grant
    descriptor = _opened(place)
    try:
        address = mapping.map_range(descriptor, place.start, size, private=False)
        try:
            mapping.populate(address, size, descriptor, place.start)
        except OSError as error:
            mapping.unmap(address, size)
            raise MemoryError(str(error)) from error
    finally:
        os.close(descriptor)

    def gone() -> None:
        mapping.unmap(address, size)
        holds.clear()

    return mapping.view(address, size, gone)[:nbytes]


# -- sending ---------------------------------------------------------------------


def published(parts: Sequence[Any]) -> list[Any]:
    """Put buffers into shared memory, if they are large enough together.

    What lies there already stays where it is, if nobody can change it. `seal` must be
    called before the result is sent, and after everything that is not used any more
    was let go of.

    Raises:
        MemoryError: there is not enough of it.
    """
    # In order: there may be ten thousands of both.
    known = sorted(_regions)
    result = [_found(part, known) for part in parts]
    loose = [
        (index, memoryview(part))
        for index, part in enumerate(result)
        if type(part) is not Piece and memoryview(part).nbytes >= mapping.PAGE
    ]
    total = sum(-(-part.nbytes // _ALIGNMENT) * _ALIGNMENT for _, part in loose)
    if total < pieces.LEAST:
        return result
    grant = _granted(total)
    if grant is None:
        return result
    address = _writable_at(grant)
    window = mapping.view(address, grant.nbytes, _nothing)
    offset = 0
    for index, part in loose:
        nbytes = part.nbytes
        window[offset : offset + nbytes] = part.cast("B")
        result[index] = Piece(
            grant.place, offset, nbytes, grant.hold, readonly=part.readonly
        )
        offset += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
    return result


def _found(part: Any, known: list[int]) -> Any:
    """Return the piece that a buffer is already, else the buffer.

    Args:
        part: The buffer.
        known: The addresses of all regions that were there before, in order.
    """
    if type(part) is Piece or not known:
        return part
    view = memoryview(part)
    if view.nbytes < mapping.PAGE:
        return part
    address = mapping.address_of(view)
    region = _around(address, view.nbytes, known)
    if region is None:
        return part
    if region.private:
        if mapping.own_pages(address, view.nbytes):
            return part
    elif region.forks == pieces.forks[0]:
        _unsealed.append(weakref.ref(region))
    else:
        return part  # a child has it too, and could still write to it
    return Piece(
        region.place,
        region.offset + address - region.address,
        view.nbytes,
        region.hold,
        readonly=view.readonly,
    )


def _around(address: int, nbytes: int, known: list[int]) -> _Region | None:
    index = bisect_right(known, address) - 1
    region = _regions.get(known[index]) if index >= 0 else None
    if region is None or address + nbytes > region.address + region.nbytes:
        return None
    return region


def seal() -> None:
    """See to it that what was published doesn't change any more.

    Raises:
        OSError: it can't be seen to.
    """
    # Held also by those who find nothing left to do: another thread may be at it.
    with _sealing:
        while _unsealed:
            region = _unsealed.pop()()
            if region is not None and not region.private:
                _replace(region, private=True)
                region.private = True
                if region.dead:
                    # Its last view went meanwhile.
                    file = _writable.get((region.place.pid, region.place.inode))
                    if file is not None:
                        _share_again(file, region)


def part() -> None:
    """See to it that a fork doesn't see what this process writes, nor the reverse."""
    with _sealing:
        for region in list(_regions.values()):
            if not region.private:
                try:
                    _replace(region, private=True)
                except OSError:
                    continue  # it is shared then, and will be copied when it is sent
                region.private = True
                if region.dead:
                    file = _writable.get((region.place.pid, region.place.inode))
                    if file is not None:
                        _share_again(file, region)


def _nothing() -> None:
    """Keep the mapping: it is used again."""
