"""The state of this process that workers take over, noticed when it changes."""

from __future__ import annotations

import os
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any

from entangle._worker import codec, context

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTHING: Mapping[str, Any] = {}
_STATUS = "/proc/self/status"


class Snapshot:
    """One captured state: its number is what workers remember of it.

    Attributes:
        number: Tells it from all others.
        data: It, encoded.
        state: It, where it was captured here.
    """

    __slots__ = ("data", "number", "state")

    def __init__(
        self, number: int, data: bytes, state: Mapping[str, Any] = NOTHING
    ) -> None:
        self.number = number
        self.data = data
        self.state = state


class Snapshots:
    """Gives the snapshot of now; the same one while nothing has changed.

    Thread-safe. A snapshot costs some microseconds, encoding one is rare.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Snapshot | None = None
        self._umask = _Umask()
        self._count = 0

    def now(self) -> Snapshot:
        """Return the snapshot of the process's present state."""
        umask = self._umask.read()
        last = self._last
        if last is not None and context.unchanged(last.state, umask):
            return last
        state = context.capture(umask)
        with self._lock:
            if self._last is None or state != self._last.state:
                self._count += 1
                self._last = Snapshot(self._count, _encode(state), state)
            return self._last


def _encode(state: dict[str, Any]) -> bytes:
    try:
        return bytes(codec.encode(context.portable(state)).data)
    except Exception:  # somebody put what is no filter among them; the rest is plain
        return bytes(codec.encode({**state, "filters": None}).data)


class _Umask:
    """Reads the file mode creation mask, which only a call that sets it returns.

    Once it is known it is set to what it was: mostly no change at all.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def read(self) -> int:
        """Return the mask of this process."""
        last = self._last
        if last is None:
            last = _umask_of_status()
        # Set to the last one, then to what this returns: a list that grows while it
        # is walked. As one call in C it lets no thread of Python in between.
        masks = [last]
        masks.extend(map(os.umask, islice(masks, 2)))
        self._last = masks[1]
        return masks[1]


def _umask_of_status() -> int:
    """Return the mask without any call that sets it, where the system tells."""
    try:
        descriptor = os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, 256)
        finally:
            os.close(descriptor)
        _, found, rest = text.partition(b"Umask:")
        if found:
            return int(rest.split()[0], 8)
    except (OSError, ValueError, IndexError):
        pass
    return 0o077
