"""The alarms that a run's engine has asked for, on the hub's agenda."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from entangle._pool.hub import Hub, Timer

_NEVER = float("inf")


class Alarms:
    """One timer of the hub for all alarms of a run. Inside the monitor only."""

    def __init__(
        self,
        hub: Hub,
        clock: Callable[[], float],
        rang: Callable[[int, float], None],
    ) -> None:
        """Tell `rang` the token of each alarm that is due, and the time."""
        self._hub = hub
        self._clock = clock
        self._rang = rang
        self._pending: list[tuple[float, int]] = []
        self._timer: Timer | None = None
        self._timer_at = _NEVER

    def set(self, alarms: deque[tuple[float, int]]) -> None:
        """Take over new alarms: times with tokens."""
        while alarms:
            heapq.heappush(self._pending, alarms.popleft())
        self._arm()

    def close(self) -> None:
        """Forget all alarms, and whom to tell."""
        self._rang = _nobody
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        first = self._pending[0][0] if self._pending else _NEVER
        if first < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = first
            self._timer = self._hub.at(first, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, _NEVER
        now = self._clock()
        while self._pending and self._pending[0][0] <= now:
            _, token = heapq.heappop(self._pending)
            self._rang(token, now)
        self._arm()


def _nobody(token: int, now: float) -> None:
    """Tell nobody: the run is over."""
