"""How many calls of a flow's functions may run at once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._engine_items import Item


class Crew:
    """Keeps items back while as many are inside as may be. Inside the monitor only.

    Args:
        most: How many that are.
        resume: Starts an item that was kept back, if it is still wanted.
    """

    def __init__(self, most: int, resume: Callable[[Item], None]) -> None:
        self._most = most
        self._resume = resume
        self._inside: set[Item] = set()
        self._waiting: deque[Item] = deque()

    def admits(self, item: Item) -> bool:
        """Let an item in, once; else keep it back until another has left."""
        if item in self._inside:
            return True
        if len(self._inside) < self._most:
            self._inside.add(item)
            return True
        self._waiting.append(item)
        return False

    def leave(self, item: Item) -> None:
        """An item is not to be started any more, or its call is over."""
        if item in self._inside:
            self._inside.discard(item)
            while self._waiting and len(self._inside) < self._most:
                self._resume(self._waiting.popleft())
