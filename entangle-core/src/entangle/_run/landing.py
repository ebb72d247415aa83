"""Several nodes run as one run, and taken as they land."""

from __future__ import annotations

import os
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from entangle._graph.node import Node

from . import current
from .discover import discover
from .future import RunFuture
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from entangle._engine_items import Item
    from entangle._pool.pool import Pool

    Landed = tuple[Item, BaseException | None, list[RunFuture[Any]]]


class Landing:
    """The state of one ``as_completed`` loop. Used by one thread.

    Nodes are drawn from the iterable only while fewer than ``ahead`` of them are under
    way, so it may be endless.
    """

    def __init__(
        self,
        pool: Pool,
        nodes: Iterable[Node[Any]],
        timeout: float | None,
        ahead: int | None,
    ) -> None:
        if isinstance(nodes, Node):
            raise TypeError(
                f"as_completed takes several nodes, not one ({nodes!r}): give it a list"
            )
        self._pool = pool
        self._nodes = iter(nodes)
        # Nodes in a list may be in it twice; those of a generator come and go.
        self._lasting = isinstance(nodes, (list, tuple, set, dict))
        self._seconds = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        if ahead is not None and ahead < 1:
            raise ValueError(
                f"as_completed(ahead={ahead}): at least one node must be under way"
            )
        self._ahead = ahead if ahead is not None else _default_ahead(pool)
        self._landed: SimpleQueue[Landed | None] = SimpleQueue()
        self._run = Run(pool)
        self._run.observe((), "")
        self._run.on_delivery = self._delivered
        self._run.on_finished = self._finished
        # What was drawn and not yielded yet: of the thread that loops.
        self._under_way: dict[RunFuture[Any], Node[Any]] = {}
        # Which of those an item stands for, until it is delivered: of the monitor.
        self._futures: dict[Item | None, list[RunFuture[Any]]] = {}
        self._exhausted = False

    def pairs(self) -> Iterator[tuple[Node[Any], RunFuture[Any]]]:
        """Yield each node with its future, done, as it lands.

        Raises:
            TimeoutError: not all nodes have landed in time.
            TypeError: something among the nodes is no node.
        """
        run, pool = self._run, self._pool
        pool.admit(run)
        pool.start(run, more=True)
        try:
            while True:
                self._draw()
                if not self._under_way:
                    return
                landed = self._next()
                if landed is None:
                    pool.finish(run)
                    for future, node in self._under_way.items():
                        future.settle_cancelled()
                        yield node, future
                    return
                item, error, futures = landed
                pool.printer.flush()
                for future in futures:
                    node = self._under_way.pop(future)
                    future.settle(item, error)
                    yield node, future
                run.hub.post(partial(run.collected, item, lasting=self._lasting))
        finally:
            if not run.finished:
                run.hub.post(run.cancel if self._under_way else run.no_more)
                pool.finish(run)
            if run.watch is not None:
                run.watch.settle()
            for future in self._under_way:
                future.settle_cancelled()

    def _draw(self) -> None:
        """Add nodes to the run until enough are under way."""
        run = self._run
        while not self._exhausted and len(self._under_way) < self._ahead:
            try:
                node = next(self._nodes)
            except StopIteration:
                self._exhausted = True
                return
            if not isinstance(node, Node):
                raise TypeError(
                    f"as_completed takes nodes, not {type(node).__qualname__} "
                    f"{node!r:.60}: call a task to get one"
                )
            run.prepare(discover(node, run.knows))
            future: RunFuture[Any] = RunFuture(run)
            self._under_way[future] = node
            run.hub.post(self._add, node, future)

    def _add(self, node: Node[Any], future: RunFuture[Any]) -> None:
        """Add one root; inside the monitor."""
        run = self._run
        futures = self._futures.get(run.items.get(node))
        if futures is not None:
            futures.append(future)
            future.root = run.items.get(node)
        elif not run.finished:
            run.add_root(node, lambda item: self._expect(item, future))

    def _expect(self, item: Item, future: RunFuture[Any]) -> None:
        self._futures[item] = [future]
        future.root = item

    def _next(self) -> Landed | None:
        """Wait for the next root; None if the run was ended."""
        left = None
        if self._deadline is not None:
            left = max(0.0, self._deadline - time.monotonic())
        try:
            landed: Landed | None
            with current.outside_limit(self._pool):
                landed = self._pool.next_landed(self._landed, left)
        except Empty:
            raise TimeoutError(
                f"{len(self._under_way)} of the nodes have not landed within "
                f"{self._seconds:g} s"
            ) from None
        return landed

    def _delivered(self, item: Item, error: BaseException | None) -> None:
        self._landed.put((item, error, self._futures.pop(item)))

    def _finished(self) -> None:
        self._landed.put(None)


def _default_ahead(pool: Pool) -> int:
    return max(32, 4 * pool.capacity, 2 * (os.cpu_count() or 1))
