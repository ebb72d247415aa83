"""The place of tasks with a source: asks it when it may be asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._graph.node import build
from entangle._graph.supplied import Supplied, made

from .place import Place
from .values import objects
from .window import Window

if TYPE_CHECKING:
    from entangle._engine_items import Item
    from entangle._graph.node import Node
    from entangle._graph.task import Task
    from entangle._seam.source import Rate

    from .arguments import Batch
    from .calls import NodeCall
    from .run import Run


class SourcePlace(Place):
    """Has calls of one task begin at a local place, not more often than they may.

    The source is asked there, just before the function is called; or alone, where the
    function runs elsewhere: then the call goes on as that of the rest of the task.

    Attributes:
        inner: The local place.
    """

    def __init__(self, run: Run, task: Task[..., Any], inner: Place) -> None:
        body: Any = task.body
        supplied: Supplied = body
        self._run = run
        self._key = task
        self.inner = inner
        self._rest = task.rest
        self._leading = supplied.leading
        self._rate: Rate | None = made(supplied.source).rate
        self._window = Window()
        # Those that have to wait till they may begin.
        self._paced: set[NodeCall] = set()

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Have the local place prepare the arguments."""
        self.inner.prepare(node, batch)

    def admit(self, items: list[Item]) -> list[Item]:
        """Let in as many as there is room for."""
        return self._window.admit(items, self._run, self)

    def start(self, call: NodeCall) -> None:
        """Begin a call when the rate allows it; nothing is held meanwhile."""
        self._window.enter()
        if self._rate is None:
            self._begin(call)
            return
        self._paced.add(call)
        self._run.pool.rates.enter(
            self._key, self._rate.interval, partial(self._let_in, call)
        )

    def cancel(self, call: NodeCall) -> None:
        """Drop a call that waits for its turn, or end it at the local place."""
        if call in self._paced:
            self._run.unstarted(call)
        else:
            self.inner.cancel(call)

    def left(self, call: NodeCall) -> None:
        """Let the next call in."""
        if call in self._paced:
            self._paced.discard(call)
        else:
            self.inner.left(call)
        self._window.leave(self._run, self)

    def close(self) -> None:
        """The run is over."""
        self._window.close()
        self._paced.clear()
        self.inner.close()

    def _let_in(self, call: NodeCall) -> bool:
        if not self._run.wanted(call):
            return False
        self._paced.discard(call)
        self._begin(call)
        return True

    def _begin(self, call: NodeCall) -> None:
        if self._rest is not None:
            call.then = partial(_going_on, self._rest, call.args[: self._leading], call)
        call.args = (*call.args, call.attempt)
        self.inner.start(call)


def _going_on(
    rest: Task[..., Any], first: tuple[Any, ...], call: NodeCall, value: Any
) -> Node[Any]:
    """Build the call of a function that runs elsewhere, with what was supplied."""
    args = (*map(objects, first), objects(value))
    return build(rest, args, None, call.node.code, call.node.lasti)
