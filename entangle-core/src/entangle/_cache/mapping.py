"""A file's memory, mapped privately, without a descriptor that stays open for it."""

from __future__ import annotations

import os
from functools import partial

from entangle._worker import mapping


def private(descriptor: int, length: int, start: int) -> memoryview:
    """Map a part of a file: writable, seen by nobody else, gone with its last user.

    Args:
        descriptor: The open file; it may be closed afterwards.
        length: How many bytes; more than none.
        start: Where the part begins: a whole number of pages.

    Raises:
        OSError: there is no memory to be had.
        ValueError: the file is not that long.
    """
    if os.fstat(descriptor).st_size < start + length:
        raise ValueError("the file is too short")
    address = mapping.map_range(descriptor, start, length, private=True)
    return mapping.view(address, length, partial(mapping.unmap, address, length))
