"""Entangle behind the methods of a peer."""

from typing import Any

from entangle.process import process
from entangle.task import gather, shutdown
from entangle.thread import thread

from . import work
from .graphs import Layered
from .peers import Peer


class Entangle(Peer):
    """Graphs of decorated calls; building them is part of what is measured."""

    noop: Any
    one: Any
    inc: Any
    add: Any
    spin: Any

    def open(self) -> None:
        """Start all workers."""
        gather(*[self.one(n) for n in range(32)])()

    def close(self) -> None:
        """End the workers."""
        shutdown()

    def call(self) -> None:
        """Run one call and wait for it."""
        self.noop()()

    def fanout(self, count: int) -> int:
        """Run independent calls; return how many came back."""
        return len(gather(*[self.one(n) for n in range(count)])())

    def busy(self, count: int, seconds: float) -> None:
        """Run independent calls that take their time."""
        gather(*[self.spin(seconds) for _ in range(count)])()

    def chain(self, count: int) -> int:
        """Feed each call with the last one's value; return the last."""
        inc = self.inc
        node = inc(0)
        for _ in range(count - 1):
            node = inc(node)
        return int(node())

    def layers(self, graph: Layered) -> list[int]:
        """Run a graph; return the last layer's values."""
        values: list[int] = gather(*self.nodes(graph)[-graph.width :])()
        return values

    def nodes(self, graph: Layered) -> list[Any]:
        """Build a graph and return all its nodes."""
        add = self.add
        nodes: list[Any] = []
        for node, parents in enumerate(graph.parents):
            if parents is None:
                nodes.append(add(node, 0, 0))
            else:
                a, b, c = parents
                nodes.append(add(nodes[a], nodes[b], nodes[c]))
        return nodes


class EntangleProcess(Entangle):
    """`@process`: warm workers."""

    name = "entangle process"
    noop = staticmethod(process(work.noop))
    one = staticmethod(process(work.one))
    inc = staticmethod(process(work.inc))
    add = staticmethod(process(work.add))
    spin = staticmethod(process(work.spin))


class EntangleThread(Entangle):
    """`@thread`."""

    name = "entangle thread"
    kind = "thread"
    noop = staticmethod(thread(work.noop))
    one = staticmethod(thread(work.one))
    inc = staticmethod(thread(work.inc))
    add = staticmethod(thread(work.add))


class EntangleFresh(Entangle):
    """`@process(fresh=True)`: a new process for each call.

    Its processes hold the functions' module, as those that peers fork do.
    """

    name = "entangle fresh"
    kind = "fresh"
    noop = staticmethod(process(fresh=True, preload=[work.__name__])(work.noop))
    one = staticmethod(process(fresh=True, preload=[work.__name__])(work.one))


OURS: tuple[type[Peer], ...] = (EntangleProcess, EntangleThread, EntangleFresh)
