"""How many calls of one place are under way, and the items that wait for their turn."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entangle._engine_items import Item

    from .places import Place
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

    def queue(self) -> deque[Item] | None:
        """Return where to put items while many calls are under way, else None."""
        return None if self._inside < WIDTH else self._waiting

    def enter(self) -> None:
        """A call begins."""
        self._inside += 1

    def leave(self, run: Run, place: Place) -> None:
        """A call of a place in a run is over: let the next one in."""
        self._inside -= 1
        if self._waiting and not self._refilling:
            # After the other news that is here already.
            self._refilling = True
            run.hub.post(run.resume, partial(self._refill, run, place))

    def close(self) -> None:
        """Let nobody in any more."""
        self._waiting.clear()

    def _refill(self, run: Run, place: Place) -> None:
        self._refilling = False
        waiting = self._waiting
        while waiting and self._inside < WIDTH:
            run.call(waiting.popleft(), place)
