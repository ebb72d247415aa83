"""What nodes and the public modules ask of the run layer."""

from __future__ import annotations

import _thread
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._log import Log
from entangle._pool import pool as pools
from entangle.errors import WorkerStartError

from . import current, failed
from .discover import discover
from .notes import note_path
from .replaced import inline
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from entangle._engine_items import Item
    from entangle._graph.node import Node
    from entangle._pool.pool import Pool

    from .future import RunFuture

log = Log("entangle.run")

__all__ = ["as_completed", "awaited", "built", "run", "shutdown", "submit"]


def run(
    node: Node[Any],
    workers: int | None = None,
    timeout: float | None = None,
    **seen: Any,
) -> Any:
    """Run a graph and return its value; see `Node.run`.

    Args:
        node: The node that is asked for.
        workers: How many calls may run at once.
        timeout: How many seconds the run may take.
        **seen: How it is to be seen: progress, trace, log, observers.
    """
    if seen:
        from entangle._see.asked import seeing

        with seeing(**seen):
            return run(node, workers, timeout)
    pool = current_pool()
    return waited(pool, *built(pool, node, workers, timeout))


def waited(pool: Any, under_way: Run, item: Item) -> Any:
    """Run what is built, and return the value of one of its roots."""
    pool.admit(under_way)
    try:
        _wait_for(pool, under_way)
        pool.printer.flush()
    finally:
        if under_way.watch is not None and under_way.finished:
            under_way.watch.settle()
    try:
        return under_way.result(item)
    finally:
        # Else a failure would hold, by its traceback, what it is held by.
        del under_way, item


def submit(
    node: Node[Any], workers: int | None = None, timeout: float | None = None
) -> RunFuture[Any]:
    """Start a graph and return its future; see `Node.submit`."""
    pool = current_pool()
    return submitted(pool, *built(pool, node, workers, timeout))


def submitted(
    pool: Any, under_way: Run, item: Item, *, observed: bool = False
) -> RunFuture[Any]:
    """Start a run that is built, and return the future for one of its roots.

    Args:
        pool: Where it runs.
        under_way: The run.
        item: The root.
        observed: Whether the future is done only when those have seen all of the run
            who were asked to observe it, as a call returns then.
    """
    # Imported here, as in other places: most runs are waited for at once.
    from concurrent.futures import CancelledError

    from .future import RunFuture

    future: RunFuture[Any] = RunFuture(under_way, item)
    if not pool.inline and pool.threads.blocked():
        # However its task waits for it, that needs another thread meanwhile.
        future.lender = _thread.get_ident()
        future.add_done_callback(lambda _: pool.threads.resumed())
    under_way.submitted = True
    pool.unsettled.add(under_way)

    def finished() -> None:
        # Callbacks of the user's run there, and may wait for other runs.
        settle = partial(_settled, pool, under_way, item, future, observed=observed)
        try:
            pool.threads.run(settle)
        except WorkerStartError:
            # The interpreter starts no thread any more; this one makes do.
            pool.notifier.call(settle)

    under_way.on_finished = finished
    try:
        pool.admit(under_way)
    except CancelledError:
        future.settle_cancelled()
        pool.unsettled.discard(under_way)
    else:
        pool.start(under_way)
    return future


def awaited(node: Node[Any]) -> Generator[Any, None, Any]:
    """Return the iterator that awaits a graph; cancelling it cancels the run."""
    pool = current_pool()
    return awaited_future(pool, submitted(pool, *built(pool, node, None, None)))


def awaited_future(pool: Any, future: RunFuture[Any]) -> Generator[Any, None, Any]:
    """Return the iterator that awaits a run, which a cancel cancels."""
    import asyncio

    pool.until_done(future)
    inner = current.scope.get()
    slot = None if inner is None else inner.slot
    if slot is not None:
        pool.hub.post(slot.step_out)
        future.add_done_callback(lambda _: pool.hub.post(slot.step_in))
    return asyncio.wrap_future(future).__await__()


def as_completed(
    nodes: Iterable[Node[Any]],
    timeout: float | None = None,
    ahead: int | None = None,
) -> Iterator[tuple[Node[Any], RunFuture[Any]]]:
    """Run nodes and yield each as it lands; see `entangle.task.as_completed`."""
    from .landing import Landing

    return Landing(current_pool(), nodes, timeout, ahead).pairs()


def shutdown() -> None:
    """End the pool of this process; see `entangle.task.shutdown`."""
    pools.shutdown()


def current_pool() -> Any:
    """Return where runs of the calling code are to be run."""
    if not inline():
        return pools.get()
    from .inline import InlinePool

    return InlinePool()


def built(
    pool: Pool, node: Node[Any], workers: int | None, timeout: float | None
) -> tuple[Run, Item]:
    """Return a run of a graph in which nothing has begun yet, and what it is for."""
    made = Run(pool, workers=workers, timeout=timeout)
    found = discover(node)
    try:
        made.prepare(found)
        made.observe(found.order, node.name)
        made.add(found)
        return made, made.root(node)
    except BaseException:
        # It never begins, and gives back what it has taken so far.
        made.hub.post(made.places.close)
        raise


def _wait_for(pool: Pool, under_way: Run) -> None:
    """Drive a run to its end, or end it if the wait is interrupted."""
    try:
        if current.scope.get() is None:
            pool.drive(under_way)
        else:
            with current.outside_limit(pool):
                pool.drive(under_way)
    except BaseException:
        under_way.hub.post(under_way.cancel)
        # Until everything is ended, or the engine's patience with it is.
        pool.finish(under_way)
        raise


def _settled(
    pool: Pool, under_way: Run, item: Item, future: RunFuture[Any], *, observed: bool
) -> None:
    try:
        _settle(pool, under_way, item, future, observed=observed)
    except BaseException:
        # A callback of the user's: `concurrent.futures` lets only exceptions pass
        # that would end the thread.
        log.exception("a callback failed")
    finally:
        pool.unsettled.discard(under_way)


def _settle(
    pool: Pool, under_way: Run, item: Item, future: RunFuture[Any], *, observed: bool
) -> None:
    """Resolve the future of a finished run, after what its tasks have printed."""
    try:
        pool.printer.flush()
    except Exception:
        log.exception("what tasks have printed can't be passed on")
    if observed and under_way.watch is not None:
        under_way.watch.settle()
    if under_way.outcome == "cancelled":
        future.settle_cancelled()
    else:
        if under_way.failure is not None:
            # Before anybody has it, and may ask for a report.
            note_path(under_way.failure, item)
            failed.note_rest(under_way.failure, under_way, item)
        future.settle(item, under_way.failure)
        if under_way.failure is None:
            item.value = None  # as `Run.result` does
