"""How many calls of one task may run at once, over all runs of the process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class _Limit:
    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[Callable[[], bool]] = deque()


class Limits:
    """Lets calls through, first come first served. Inside the monitor only."""

    def __init__(self) -> None:
        self._limits: dict[Hashable, _Limit] = {}

    def enter(self, key: Hashable, most: int, begin: Callable[[], bool]) -> None:
        """Have ``begin()`` called as soon as fewer than ``most`` calls are inside.

        It returns False if the call is not wanted any more; if it returns True then
        `leave` must follow.
        """
        limit = self._limits.setdefault(key, _Limit())
        if limit.running < most:
            limit.running += 1
            if not begin():
                self.leave(key)
        else:
            limit.waiting.append(begin)

    def step_in(self, key: Hashable) -> None:
        """A call that has left for a while goes on, whoever is inside by now."""
        self._limits.setdefault(key, _Limit()).running += 1

    def leave(self, key: Hashable) -> None:
        """One call is over: the next may begin."""
        limit = self._limits[key]
        while limit.waiting:
            if limit.waiting.popleft()():
                return
        limit.running -= 1
        if not limit.running:
            del self._limits[key]
