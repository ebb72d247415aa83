"""How often calls of one task may begin, over all runs of the process."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class _Pace:
    __slots__ = ("free_at", "interval", "waiting")

    def __init__(self) -> None:
        self.free_at = 0.0  # when the next may begin
        self.interval = 0.0
        self.waiting: deque[Callable[[], bool]] = deque()


class Rates:
    """Lets calls begin at equal intervals, first come first served.

    Inside the monitor only. Those that wait hold no worker.
    """

    def __init__(self, hub: Any) -> None:
        """Wait by a hub's agenda."""
        self._hub = hub
        self._paces: dict[Hashable, _Pace] = {}

    def enter(self, key: Hashable, interval: float, begin: Callable[[], bool]) -> None:
        """Have ``begin()`` called when the interval since the last one is over.

        Args:
            key: Whose calls these are.
            interval: The seconds from one begin to the next.
            begin: Returns False if the call is not wanted any more; then the next one
                has its turn.
        """
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = _Pace()
        pace.interval = interval
        pace.waiting.append(begin)
        if len(pace.waiting) == 1 and not pace.free_at:
            self._turn(key, pace)

    def _turn(self, key: Hashable, pace: _Pace) -> None:
        """The interval is over: let one in, or forget the key."""
        pace.free_at = 0.0
        while pace.waiting:
            # Before it begins: what it does may ask for another turn.
            pace.free_at = time.monotonic() + pace.interval
            if pace.waiting.popleft()():
                self._hub.at(pace.free_at, partial(self._turn, key, pace))
                return
            pace.free_at = 0.0
        del self._paces[key]
