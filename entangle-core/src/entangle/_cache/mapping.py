"""A file's memory, mapped privately, without a descriptor that stays open for it.

Python's own `mmap` holds one for each mapping before version 3.13, and a process may
have about a thousand.
"""

from __future__ import annotations

import mmap
import sys
import weakref
from functools import lru_cache
from typing import Any


def private(descriptor: int, length: int, start: int) -> Any:
    """Map a part of a file: writable, seen by nobody else, gone with its last user.

    Args:
        descriptor: The open file; it may be closed afterwards.
        length: How many bytes; more than none.
        start: Where the part begins: a whole number of pages.

    Returns:
        An object with that memory, as a buffer of bytes.

    Raises:
        OSError: there is no memory to be had.
        ValueError: the file is not that long.
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(  # pyright: ignore[reportUnreachable]
            descriptor,
            length,
            mmap.MAP_PRIVATE,
            mmap.PROT_READ | mmap.PROT_WRITE,
            offset=start,
            trackfd=False,
        )
    return _mapped(descriptor, length, start)


def _mapped(descriptor: int, length: int, start: int) -> Any:
    import ctypes

    map_, unmap = _library()
    flags, protection = mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE
    address = map_(None, length, protection, flags, descriptor, start)
    if address == ctypes.c_void_p(-1).value:
        error = ctypes.get_errno()
        raise OSError(error, "a file can't be mapped")
    memory = (ctypes.c_ubyte * length).from_address(address)
    # Not at exit: arrays may still be looked at then.
    weakref.finalize(memory, unmap, address, length).atexit = False
    return memory


@lru_cache(1)
def _library() -> tuple[Any, Any]:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    map_, unmap = library.mmap, library.munmap
    map_.restype = ctypes.c_void_p
    map_.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int64),
    )
    unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return map_, unmap
