"""How many calls of one place are under way, and the items that wait for their turn."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entangle._engine_items import Item

    from .place import Place
    from .run import Run

# Calls of one task and run that are under way: enough to keep the workers busy, few
# enough that another run's calls don't wait long behind them.
WIDTH = 512


class Window:
    """Lets so many calls of a place in. Inside the monitor only."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._inside = 0
        self._refilling = False

    def admit(self, items: list[Item], run: Run, place: Place) -> list[Item]:
        """Return those that there is room for; the others wait for theirs."""
        room = max(WIDTH - self._inside, 0)
        if len(items) <= room:
            return items
        self._waiting.extend(items[room:])
        # Not all that are let in need come: what can't begin leaves no more, either.
        self._refill_soon(run, place)
        return items[:room]

    def enter(self, count: int = 1) -> None:
        """So many calls begin."""
        self._inside += count

    def leave(self, run: Run, place: Place, count: int = 1) -> None:
        """So many calls of a place in a run are over: let the next ones in."""
        self._inside -= count
        if self._waiting:
            self._refill_soon(run, place)

    def close(self) -> None:
        """Let nobody in any more."""
        self._waiting.clear()

    def _refill_soon(self, run: Run, place: Place) -> None:
        """Let in whom there is room for, after the other news that is here already."""
        if not self._refilling:
            self._refilling = True
            run.hub.post(run.resume, partial(self._refill, run, place))

    def _refill(self, run: Run, place: Place) -> None:
        self._refilling = False
        waiting = self._waiting
        while waiting and self._inside < WIDTH:
            room = min(WIDTH - self._inside, len(waiting))
            run.call([waiting.popleft() for _ in range(room)], place)
