"""The two Linux process attributes that Python has no call for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl() -> Callable[[int, int], int]:
    # The extension module alone: importing `ctypes` would make each fork dearer.
    try:
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # None: this program
        call = _ctypes.call_cdeclfunction
    except (ImportError, AttributeError, OSError):
        return lambda _option, _value: -1
    return lambda option, value: call(address, (option, value, 0, 0, 0))


prctl = _prctl()


def adopt_orphans() -> bool:
    """Make this process the parent of every orphan among its descendants.

    Returns:
        Whether the system can do that.
    """
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0


def die_with_parent(signal_number: int) -> bool:
    """Have the kernel send a signal to this process when its parent's thread ends.

    Returns:
        Whether the system can do that.
    """
    return prctl(PR_SET_PDEATHSIG, signal_number) == 0
