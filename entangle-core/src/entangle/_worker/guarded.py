"""A worker's own descriptors, kept from what bodies do to theirs."""

from __future__ import annotations

import fcntl
import os

_SEAL_FUTURE_WRITE = 0x10  # has a name since Python 3.13
_HIGH = (960, 224, 48)


def seal(shared: int) -> None:
    """Let the page change through its mapping alone, which keeps a descriptor open."""
    try:
        fcntl.fcntl(shared, fcntl.F_ADD_SEALS, _SEAL_FUTURE_WRITE)
    except (AttributeError, OSError):
        pass  # before Linux 5.1: a body that writes there deceives the caller


def out_of_reach(descriptor: int) -> int:
    """Move a descriptor above those that closing a range usually hits.

    Returns:
        Its new number; the old one where the process may not have one so high.
    """
    for least in _HIGH:
        try:
            high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
        except OSError:
            continue  # beyond what this process may open
        os.close(descriptor)
        return high
    return descriptor
