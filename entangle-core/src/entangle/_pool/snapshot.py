"""The state of this process that workers take over, noticed when it changes."""

from __future__ import annotations

import os
import threading
from typing import Any

from entangle._worker import codec, context

_STATUS = "/proc/self/status"


class Snapshot:
    """One captured state: its number is what workers remember of it."""

    __slots__ = ("data", "number")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = data


class Snapshots:
    """Gives the snapshot of now; the same one while nothing has changed.

    Thread-safe. A snapshot costs some microseconds, encoding one is rare.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Snapshot | None = None
        self._state: dict[str, Any] = {}
        self._count = 0

    def now(self) -> Snapshot:
        """Return the snapshot of the process's present state."""
        state = context.capture(_umask())
        with self._lock:
            if self._last is None or state != self._state:
                self._count += 1
                self._last = Snapshot(self._count, _encode(state))
                self._state = state
            return self._last


def _encode(state: dict[str, Any]) -> bytes:
    try:
        return bytes(codec.encode(context.portable(state)).data)
    except Exception:  # somebody put what is no filter among them; the rest is plain
        return bytes(codec.encode({**state, "filters": None}).data)


def _umask() -> int:
    """Return the file mode creation mask without changing it, as `os.umask` would."""
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
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
