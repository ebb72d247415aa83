"""Which values a run keeps although all known consumers have ended.

A value is dropped with its last consumer. Where more nodes can be added to a run (a
workflow is still to return some, `as_completed` is still drawing) one of them may use
a node again that is already spent, and a node is computed once per run. So while that
can happen, the values of nodes that somebody outside of the graph holds are kept.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from entangle._engine_items import consumers_of

from .discover import is_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from entangle._engine import Engine
    from entangle._engine_items import Item

# References to a node that are the run's own: the loop over what was found, the key
# among the run's items, the item's own, the argument of getrefcount.
_OWN = 4


class Pins:
    """The kept values of one run. Inside the monitor, or before the run begins."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._growing: set[Any] = set()
        self._pinned: dict[Item, None] = {}

    def grow(self, reason: Any) -> None:
        """More nodes may come, for some reason."""
        self._growing.add(reason)

    @property
    def growing(self) -> bool:
        """Whether more nodes may come."""
        return bool(self._growing)

    def settle(self, reason: Any) -> None:
        """Nothing more comes for that reason; without any left all pins are drawn."""
        if reason in self._growing:
            self._growing.discard(reason)
            if not self._growing:
                pinned, self._pinned = self._pinned, {}
                for item in pinned:
                    self._engine.unpin(item)

    def pin(self, order: Iterable[Any], items: Mapping[Any, Item]) -> None:
        """Pin those of the nodes just added that are held by more than the graph.

        A node that was just drawn from an iterable is held by whoever draws it, and so
        not by the graph alone, but nobody keeps it: it is pinned all the same and let
        go of with `unpin`.
        """
        if not self._growing:
            return
        # One more where what was found is not what the run has of items.
        own = _OWN + (order is not items)
        for edge in order:
            if is_node(edge):
                item = items[edge]
                if sys.getrefcount(edge) - own > len(consumers_of(item)):
                    self._engine.pin(item)
                    self._pinned[item] = None

    def unpin(self, item: Item) -> None:
        """Let go of one item."""
        if item in self._pinned:
            del self._pinned[item]
            self._engine.unpin(item)
