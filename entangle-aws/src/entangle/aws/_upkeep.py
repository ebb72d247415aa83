"""Looking after what all programs of an account share."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("entangle.aws")


class Upkeep:
    """Has shared things looked after: once, however many ask. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._things: dict[str, _Thing] = {}
        self._said: set[str] = set()

    def of(
        self, name: str, look: Callable[[], None], seconds: float = math.inf
    ) -> None:
        """Have a thing looked after, unless it was.

        Args:
            name: Which.
            look: Makes it what it has to be. What it raises is raised; then the next
                who asks has it looked after.
            seconds: For how long that holds.
        """
        thing = self._thing(name)
        with thing.lock:
            if thing.looked is None or time.monotonic() - thing.looked >= seconds:
                look()
                thing.looked = time.monotonic()

    def doubt(self, name: str) -> None:
        """Have a thing looked after when it is next asked for."""
        self._thing(name).looked = None

    def warn(self, text: str) -> None:
        """Say something, once."""
        with self._lock:
            known = text in self._said
            self._said.add(text)
        if not known:
            log.warning("%s", text)

    def _thing(self, name: str) -> _Thing:
        with self._lock:
            return self._things.setdefault(name, _Thing())


class _Thing:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.looked: float | None = None
