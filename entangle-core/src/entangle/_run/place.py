"""What a run asks of where its calls go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from entangle.errors import UnpicklableError

from .notes import note_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from entangle._engine_items import Item
    from entangle._graph.node import Node

    from .arguments import Batch
    from .calls import NodeCall


class Place(ABC):
    """Starts and ends the calls of one kind of task, for one run.

    Inside the monitor only, but for what says else. What comes in numbers, as most
    does, is asked for in numbers: a place that can do so for less than each by itself
    says how.
    """

    @abstractmethod
    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Do, outside of the monitor, what may run code of the user's."""

    def prepare_all(self, nodes: Iterable[Node[Any]], batch: Batch) -> None:
        """Prepare several nodes of one task; as `prepare`.

        Raises:
            UnpicklableError: something can't be sent to a process.
        """
        for node in nodes:
            try:
                self.prepare(node, batch)
            except UnpicklableError as error:
                note_node(error, node)
                raise

    def admit(self, items: list[Item]) -> list[Item]:
        """Return those that are to be started now; the others are kept till later."""
        return items

    @abstractmethod
    def start(self, call: NodeCall) -> None:
        """Begin a call; never blocks."""

    def start_all(self, calls: Sequence[NodeCall]) -> None:
        """Begin several calls of one task, in this order; never blocks."""
        for call in calls:
            self.start(call)

    @abstractmethod
    def cancel(self, call: NodeCall) -> None:
        """End a call that was started, which is told how."""

    @abstractmethod
    def left(self, call: NodeCall) -> None:
        """A call is over."""

    def all_left(self, calls: Sequence[NodeCall]) -> None:
        """Several calls have succeeded that were started."""
        for call in calls:
            self.left(call)

    @abstractmethod
    def close(self) -> None:
        """The run is over."""
