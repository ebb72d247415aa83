"""The few things of the C library that Python has no call for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


_IOLBF = 1


def _function(name: str) -> Callable[[tuple[Any, ...]], int]:
    """Find a function of the C library, to be called with a tuple of arguments."""
    # The extension module alone: importing `ctypes` would make each fork dearer.
    try:
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]  # None: this program
        call = _ctypes.call_cdeclfunction
    except (ImportError, AttributeError, OSError):
        return lambda _arguments: -1
    return lambda arguments: call(address, arguments)


prctl = _function("prctl")
fflush = _function("fflush")
setvbuf = _function("setvbuf")


def line_buffered() -> None:
    """Have what C code prints leave in whole lines, as at a terminal.

    To a pipe it would leave when some kilobytes have gathered, or at the exit.
    """
    try:
        import _ctypes

        class Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]  # noqa: SLF001 - of a FILE
            _type_ = "P"

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "stdout")  # type: ignore[arg-type]  # as above
        stdout = Pointer.from_address(address)
        setvbuf((stdout, None, _IOLBF, 0))
    except Exception:  # noqa: BLE001, S110 - another C library: as it was, then
        pass


def flush() -> None:
    """Send on what C code has printed and not ended by a newline."""
    fflush((None,))


def adopt_orphans() -> bool:
    """Make this process the parent of every orphan among its descendants.

    Returns:
        Whether the system can do that.
    """
    return prctl((PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0


def die_with_parent(signal_number: int) -> bool:
    """Have the kernel send a signal to this process when its parent's thread ends.

    Returns:
        Whether the system can do that.
    """
    return prctl((PR_SET_PDEATHSIG, signal_number, 0, 0, 0)) == 0
