"""The future that stands for a run."""

from __future__ import annotations

import _thread
import concurrent.futures
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from entangle._graph.walk import EDGE_TYPES

from . import current
from .notes import note_path
from .values import objects

if TYPE_CHECKING:
    from collections.abc import Generator

    from entangle._engine_items import Item

    from .run import Run

T = TypeVar("T")


class RunFuture(concurrent.futures.Future[T]):
    """A `concurrent.futures.Future` whose `cancel` also ends what is running.

    Made by ``node.submit()`` and `as_completed`. As an argument of a call it counts
    as a node that is already running. Thread-safe; callbacks run on the notifier
    thread of the pool.
    """

    def __init__(self, run: Run, root: Item | None = None) -> None:
        super().__init__()
        self._run = run
        self.root = root  # whose outcome this is; None as long as it is not known
        self.lender = 0  # the thread of the pool that does without itself until then

    def cancel(self) -> bool:
        """End the run, unless it is over.

        Returns at once; `concurrent.futures.CancelledError` is what waiters get when
        all that could be ended has been.

        Returns:
            Whether the run is, or is going to be, cancelled.
        """
        if self.done():
            return self.cancelled()
        self._run.hub.post(self._run.cancel)
        return True

    def running(self) -> bool:
        """Tell whether the run is under way."""
        return not self.done()

    def result(self, timeout: float | None = None) -> T:
        """Return the value, or raise why there is none; waits for the run's end.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: The run is not over in time; it goes on.
            concurrent.futures.CancelledError: It was cancelled.
        """
        if self.done():
            return super().result()
        with self._waiting():
            return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return why there is no value, or None; waits as `result` does."""
        if self.done():
            return super().exception()
        with self._waiting():
            return super().exception(timeout)

    @contextmanager
    def _waiting(self) -> Generator[None, None, None]:
        pool = self._run.pool
        lent = self.lender == _thread.get_ident()
        with (
            current.outside_limit(pool),
            nullcontext() if lent else pool.waiting(),
        ):
            yield

    def cancelled_how(self) -> str | None:
        """Return the worst that can be said of the calls that a cancel has ended.

        ``'already done'``: nothing was running; ``'killed'``; ``'abandoned'``: a call
        runs on, its result is discarded; ``'unconfirmed'``: no answer within the grace
        period; ``'cannot kill'``: the place refused. None while the run goes on.
        """
        if not self._run.finished:
            return None
        how: str = self._run.engine.how
        return how

    def states(self) -> dict[Any, str]:
        """Return what has become of the nodes, for their pictures.

        Returns:
            For each node of the graph, or each flow of a flow, ``'waiting'``,
            ``'running'``, ``'done'``, ``'failed'``, ``'retry'`` (waits for its next
            attempt) or ``'skipped'`` (not run, or ended, since nobody needs it any
            more), as of now: ``node.to_svg(states=future.states())``. Functions that
            choose have none; what they have chosen has.
        """
        from .states import states_of

        return {} if self.root is None else {**states_of(self._run, self.root)}

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Show the run in a notebook: how it stands, and its picture."""
        from .display import bundle

        return bundle(self)

    @property
    def run_of_future(self) -> Run:
        """The run that this future stands for."""
        return self._run

    def settle(self, item: Item, error: BaseException | None) -> None:
        """Take over the outcome of a root; on the notifier thread."""
        if self.done():
            return
        value: Any = None
        if error is None:
            try:
                value = objects(item.value)
            except BaseException as trouble:
                error = trouble
        if not self.set_running_or_notify_cancel():
            return
        if error is None:
            self.set_result(value)
        else:
            note_path(error, item)
            self.set_exception(error)

    def settle_cancelled(self) -> None:
        """Wake all waiters with a CancelledError; on the notifier thread."""
        if not self.done():
            super().cancel()
            self.set_running_or_notify_cancel()


EDGE_TYPES.add(RunFuture)
