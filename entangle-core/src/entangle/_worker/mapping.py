"""Ranges of files as memory of this process.

Beside Python's `mmap`, since an object of that keeps a descriptor, does not say when
the last view of it is gone, and can't be put in the place of another one.
"""

from __future__ import annotations

import _ctypes
import _thread
import errno
import os
import sys
from mmap import MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from mmap import PAGESIZE as _PAGESIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    Buffer = Union[bytes, bytearray, memoryview]

PAGE = _PAGESIZE

_BOTH = PROT_READ | PROT_WRITE
_MAP_FIXED = 0x10
_MADV_POPULATE_WRITE = 23  # since Linux 5.14
_LARGE = 32 << 20  # bytes that two processors populate
_PAGEMAP = "/proc/self/pagemap"
# The top bytes of entries whose page is not this process's own: bits 63 (present) and
# 62 (swapped), 61 (of a file or shared), and the lower ones, which say something else.
_NOT_OWN = bytes(top for top in range(256) if not top & 0xC0 or top & 0x20)


def _simple(code: str) -> Any:
    # `ctypes` itself would make each fork dearer.
    return type(code, (getattr(_ctypes, "_SimpleCData"),), {"_type_": code})  # noqa: B009 - it has no other name


_POINTER, _SIZE, _INT, _BYTE, _OBJECT = map(_simple, "PLiBO")


def _function(name: str, result: Any, *arguments: Any, api: bool = False) -> Any:
    """Find a function of the C library or, with ``api``, of the interpreter."""
    flags = _ctypes.FUNCFLAG_CDECL
    flags |= _ctypes.FUNCFLAG_PYTHONAPI if api else _ctypes.FUNCFLAG_USE_ERRNO
    kind = type(name, (_ctypes.CFuncPtr,), {"_flags_": flags, "_restype_": result})
    function = kind(_ctypes.dlsym(_ctypes.dlopen(None, 0), name))  # type: ignore[arg-type]  # None: this program
    function.argtypes = arguments
    return function


_mmap = _function("mmap", _POINTER, _POINTER, _SIZE, _INT, _INT, _INT, _SIZE)
_munmap = _function("munmap", _INT, _POINTER, _SIZE)
_madvise = _function("madvise", _INT, _POINTER, _SIZE, _INT)
_MAP_FAILED = _POINTER(-1).value


def _raise(what: str) -> None:
    number = _ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


def pages(nbytes: int) -> int:
    """Return a number of bytes rounded up to whole pages."""
    return -(-nbytes // PAGE) * PAGE


def map_range(
    descriptor: int, offset: int, nbytes: int, *, private: bool, at: int | None = None
) -> int:
    """Map a range of a file, of whole pages, for reading and writing.

    Args:
        descriptor: the file; it may be closed afterwards.
        offset: where in the file, in bytes.
        nbytes: how much.
        private: whether what is written stays in this process.
        at: the address of a mapping of that size to take the place of, in one step.

    Returns:
        The address. The caller owns the mapping, see `unmap`.

    Raises:
        OSError: it can't be mapped.
    """
    flags = MAP_PRIVATE if private else MAP_SHARED
    if at is not None:
        flags |= _MAP_FIXED
    address: int = _mmap(at, nbytes, _BOTH, flags, descriptor, offset)
    if address == _MAP_FAILED:
        _raise("shared memory can't be mapped")
    return address


def unmap(address: int, nbytes: int) -> None:
    """End a mapping."""
    _munmap(address, nbytes)


def populate(address: int, nbytes: int, descriptor: int, offset: int) -> None:
    """Get all memory that writing to a shared mapping will need.

    Where there is none left this is an error; writing would be the end of the process.

    Args:
        address: of the mapping.
        nbytes: its size.
        descriptor: the file that is mapped, for systems that can't do without.
        offset: the place of the mapping in the file.

    Raises:
        OSError: there is not so much.
    """
    # Finding pages is the kernel's work, and most of what a first use takes: two
    # processors halve it.
    if nbytes < _LARGE or len(os.sched_getaffinity(0)) == 1:
        _populate(address, nbytes, descriptor, offset)
        return
    half = pages(nbytes // 2)
    troubles: list[BaseException] = []
    other = _thread.allocate_lock()

    def work() -> None:
        try:
            _populate(address + half, nbytes - half, descriptor, offset + half)
        except BaseException as error:  # noqa: BLE001 - raised below
            troubles.append(error)
        finally:
            other.release()

    other.acquire()
    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:  # no more threads
        work()
    try:
        _populate(address, half, descriptor, offset)
    finally:
        other.acquire()
    if troubles:
        raise troubles[0]


def _populate(address: int, nbytes: int, descriptor: int, offset: int) -> None:
    if _madvise(address, nbytes, _MADV_POPULATE_WRITE) == 0:
        return
    if _ctypes.get_errno() != errno.EINVAL:
        _raise(f"{nbytes:,} bytes of shared memory can't be had")
    os.posix_fallocate(descriptor, offset, nbytes)


def _let_go(exporter: Any, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
    # A process that ends needs nothing of this, and may have lost half of it.
    if not _finalizing():
        exporter.gone()


# Memory at an address, as a buffer that knows when the last view of it is gone. Of one
# length for all, since types of arrays are kept for ever: `view` cuts the right one.
_Exporter: Any = type(
    "Exporter",
    (_ctypes.Array,),
    {"_type_": _BYTE, "_length_": 1 << 46, "__del__": _let_go},
)


def view(address: int, nbytes: int, gone: Callable[[], None]) -> memoryview:
    """Return memory as a buffer.

    Args:
        address: where it begins.
        nbytes: how long it is.
        gone: called when the last view of it is gone, in whatever thread.
    """
    exporter = _Exporter.from_address(address)
    exporter.gone = gone
    return memoryview(exporter).cast("B")[:nbytes]


# Bigger than any `Py_buffer`, whose first field is the address.
_BufferStruct: Any = type("S", (_ctypes.Array,), {"_type_": _SIZE, "_length_": 16})

_get_buffer = _function("PyObject_GetBuffer", _INT, _OBJECT, _POINTER, _INT, api=True)
_release_buffer = _function("PyBuffer_Release", _INT, _POINTER, api=True)


def address_of(buffer: Buffer) -> int:
    """Return where the memory of a contiguous buffer begins."""
    struct = _BufferStruct()
    place = _ctypes.addressof(struct)
    _get_buffer(buffer, place, 0)
    address: int = struct[0]
    _release_buffer(place)
    return address


def own_pages(address: int, nbytes: int) -> bool:
    """Tell whether this process has written to a range that it has mapped privately.

    By the table of its pages (see "pagemap" in the kernel's documentation).
    """
    first = address // PAGE
    entries = -(-(address + nbytes) // PAGE) - first
    try:
        descriptor = os.open(_PAGEMAP, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        while entries:
            data = os.pread(descriptor, min(entries, 1 << 17) * 8, first * 8)
            if not data or data[7::8].translate(None, _NOT_OWN):
                return True
            first += len(data) // 8
            entries -= len(data) // 8
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
