"""How long an exchange may still take."""

from __future__ import annotations

import threading
import time
from typing import Final

# The least that a socket is given: with 0 it would not block at all.
_LEAST: Final = 0.001


class Clock:
    """The time of one exchange. It stands still while a function looks at a chunk.

    Attributes:
        seconds: How long the exchange may take.
    """

    __slots__ = ("_begun", "_stopped", "seconds")

    def __init__(self, seconds: float) -> None:
        """Start."""
        self.seconds = seconds
        self._begun = time.monotonic()
        self._stopped: float | None = None

    @property
    def elapsed(self) -> float:
        """The seconds that it has taken."""
        now = self._stopped if self._stopped is not None else time.monotonic()
        return now - self._begun

    @property
    def left(self) -> float:
        """The seconds that are left, as a timeout for the next step.

        Raises:
            TimeoutError: None are.
        """
        left = self.seconds - self.elapsed
        if left <= 0:
            raise TimeoutError
        return max(left, _LEAST)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.elapsed >= self.seconds

    def stop(self) -> None:
        """What comes now is not the exchange's time."""
        self._stopped = time.monotonic()

    def go_on(self) -> None:
        """The exchange goes on."""
        if self._stopped is not None:
            self._begun += time.monotonic() - self._stopped
            self._stopped = None


class _Current(threading.local):
    clock: Clock | None = None
    # The names of headers that hold a secret, however short that is; in lower case.
    private: frozenset[str] = frozenset()


# What is to be known of the exchange that a thread is at, below.
current: Final = _Current()
