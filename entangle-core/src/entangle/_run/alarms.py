"""The alarms that a run's engine has asked for, as one timer of the hub."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from entangle._pool.hub import Hub, Timer

_NEVER = float("inf")


class Alarms:
    """Rings when alarms are due. Inside the monitor only."""

    def __init__(self, hub: Hub, ring: Callable[[list[int], float], None]) -> None:
        """Use a hub.

        Args:
            hub: Whose agenda the timer is on.
            ring: Is called with the tokens that are due, first things first, and the
                time.
        """
        self._hub = hub
        self._ring = ring
        self._waiting: list[tuple[float, int]] = []
        self._timer: Timer | None = None
        self._at = _NEVER

    def set(self, alarms: deque[tuple[float, int]]) -> None:
        """Take over alarms: when, and the token to ring with."""
        while alarms:
            heapq.heappush(self._waiting, alarms.popleft())
        self._rearm()

    def clear(self) -> None:
        """Ring no more, and let go of whom to ring for."""
        self._ring = _nobody
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _rearm(self) -> None:
        first = self._waiting[0][0] if self._waiting else _NEVER
        if first < self._at:
            if self._timer is not None:
                self._timer.cancel()
            self._at = first
            self._timer = self._hub.at(first, self._due)

    def _due(self) -> None:
        self._timer, self._at = None, _NEVER
        now = time.monotonic()
        tokens: list[int] = []
        while self._waiting and self._waiting[0][0] <= now:
            tokens.append(heapq.heappop(self._waiting)[1])
        self._ring(tokens, now)
        self._rearm()


def _nobody(tokens: list[int], now: float) -> None:
    """Ring for nobody: the run is over."""
