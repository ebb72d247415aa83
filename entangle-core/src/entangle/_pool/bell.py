"""A descriptor that wakes who polls it."""

from __future__ import annotations

import contextlib
import os


class Bell:
    """Rung by any thread, and heard by who polls its descriptor. Thread-safe.

    Owns: the descriptor, which is closed when nobody has the bell any more. Whoever is
    about to ring it has it; so no ring ever goes to what has the same number by then.

    Attributes:
        descriptor: Readable once it was rung.
    """

    __slots__ = ("descriptor",)

    def __init__(self) -> None:
        self.descriptor = -1  # if there is none to be had
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Wake who polls it, or whoever will next."""
        with contextlib.suppress(OSError, ValueError):  # disowned by a forked child
            os.eventfd_write(self.descriptor, 1)

    def heard(self) -> None:
        """Take note of all rings so far."""
        with contextlib.suppress(OSError, ValueError):
            os.eventfd_read(self.descriptor)

    def disown(self) -> None:
        """Close it at once; for a forked child, where only one thread exists."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
