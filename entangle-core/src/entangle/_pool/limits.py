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


class Slot:
    """What one call takes of its limit. Inside the monitor only."""

    __slots__ = ("_depth", "_key", "_limits", "_over")

    def __init__(self, limits: Limits, key: Hashable) -> None:
        self._limits = limits
        self._key = key
        self._depth = 0  # of waiting for what may be calls of its own task
        self._over = False

    def step_out(self) -> None:
        """The call waits for a run: it does not count meanwhile."""
        if not self._over:
            self._depth += 1
            if self._depth == 1:
                self._limits.leave(self._key)

    def step_in(self) -> None:
        """The call goes on, whoever is inside by now."""
        if not self._over:
            self._depth -= 1
            if not self._depth:
                self._limits.step_in(self._key)

    def end(self) -> None:
        """The call is over, or of no interest any more."""
        if not self._over:
            self._over = True
            if not self._depth:
                self._limits.leave(self._key)


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
