"""Calls in threads of this process: plain functions, workflows and coroutines."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._graph.walk import edges_in
from entangle._worker.main import end_forked_child

from . import current
from .place import Place
from .told import told
from .values import objects

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from entangle._graph.node import Node

    from .arguments import Batch
    from .calls import NodeCall
    from .run import Run


class _Dropped:
    """Stands for a call that was cancelled."""


_DROPPED = _Dropped()


class ThreadPlace(Place):
    """The pool's threads, for one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._threads = run.pool.threads
        # Whoever stores first decides whether a call begins: a thread stores the
        # scope of the call, who cancels it stores that it is dropped.
        self._claims: dict[NodeCall, current.Scope | _Dropped] = {}

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Nothing: objects are shared."""

    def prepare_all(self, nodes: Iterable[Node[Any]], batch: Batch) -> None:
        """Nothing, either."""

    def start(self, call: NodeCall) -> None:
        """Give the call to a thread."""
        may_change(self._run, call)
        try:
            self._threads.run(partial(self._work, call))
        except RuntimeError as error:
            call.failed(error)

    def cancel(self, call: NodeCall) -> None:
        """Drop a call that has not begun, else abandon it."""
        claim = self._claims.setdefault(call, _DROPPED)
        if isinstance(claim, current.Scope):
            # What becomes of the body is of no interest any more.
            self._claims[call] = _DROPPED
            claim.end(then=partial(call.cancelled, "abandoned"))
        else:
            call.cancelled("already done")

    def left(self, call: NodeCall) -> None:
        """What the call had may be different now; nothing waits for its end here."""
        may_change(self._run, call)

    def close(self) -> None:
        """Nothing is left behind: a thread forgets its call by itself."""

    def _work(self, call: NodeCall) -> None:
        scope = scope_of(call)
        if self._claims.setdefault(call, scope) is not scope:
            del self._claims[call]
            return
        if call.wants_start:
            call.started()
        value: Any = None
        error: BaseException | None = None
        try:
            value = self._run.context.copy().run(_body, call, scope)
        except BaseException as raised:
            error = told(raised)
        if os.getpid() != self._run.pool.pid:
            end_forked_child(error)
        scope.end(keep=runs_in(value))
        if self._claims.pop(call, None) is not scope:
            return
        self._threads.about_to_report()
        if error is None:
            call.succeeded(value)
        else:
            call.failed(error)


def _body(call: NodeCall, scope: current.Scope) -> Any:
    current.scope.set(scope)
    args, kwargs = arguments(call)
    return call.function(*args, **kwargs)


def scope_of(call: NodeCall) -> current.Scope:
    """Return a new scope for a call that begins here."""
    scope = current.Scope(call.slot)
    scope.rank = call.run.rank
    watch = call.run.watch
    if watch is not None:
        scope.seen = watch.seen(call)
    return scope


def arguments(call: NodeCall) -> tuple[Any, dict[str, Any]]:
    """Return a call's arguments as objects of this process."""
    args = call.args
    kwargs = call.kwargs or {}
    if call.item.inputs:
        args = tuple([objects(value) for value in args])
        kwargs = {name: objects(value) for name, value in kwargs.items()}
    return args, kwargs


def may_change(run: Run, call: NodeCall) -> None:
    """Take note of the begin or the end of a call that has values of others itself."""
    if call.item.inputs:
        run.encoder.changed()


def runs_in(value: Any) -> set[Any]:
    """Return the runs whose futures a value contains: they are not over yet."""
    return {
        edge.run_of_future for edge in edges_in(value) if hasattr(edge, "run_of_future")
    }


class AsyncPlace(Place):
    """An event loop on a thread of its own, shared by a run's coroutines."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[NodeCall, asyncio.Task[None]] = {}
        self._cancelled: set[NodeCall] = set()
        self._closed = False

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Nothing: objects are shared."""

    def prepare_all(self, nodes: Iterable[Node[Any]], batch: Batch) -> None:
        """Nothing, either."""

    def start(self, call: NodeCall) -> None:
        """Give the call to the loop."""
        may_change(self._run, call)
        self._post(self._begin, call)

    def cancel(self, call: NodeCall) -> None:
        """Cancel the task of a call; it is told when the task has ended."""
        self._post(self._end, call)

    def left(self, call: NodeCall) -> None:
        """What the call had may be different now; nothing waits for its end here."""
        may_change(self._run, call)

    def close(self) -> None:
        """Stop the loop; what still runs in it has been told to end."""
        with self._lock:
            self._closed = True
            loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(loop.stop)
            except RuntimeError:
                pass  # it has ended already

    def _post(self, action: Any, call: NodeCall) -> None:
        with self._lock:
            if self._closed:
                return
            if self._loop is None:
                import asyncio

                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._serve,
                    args=(self._loop,),
                    name="entangle-asyncio",
                    daemon=True,
                ).start()
            self._loop.call_soon_threadsafe(action, self._loop, call)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _begin(self, loop: asyncio.AbstractEventLoop, call: NodeCall) -> None:
        if call in self._cancelled:
            call.cancelled("already done")
            return
        task = self._tasks[call] = loop.create_task(
            self._body(call), context=self._run.context.copy()
        )
        task.add_done_callback(partial(self._over, call))

    def _end(self, _loop: asyncio.AbstractEventLoop, call: NodeCall) -> None:
        self._cancelled.add(call)
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()

    async def _body(self, call: NodeCall) -> None:
        scope = scope_of(call)
        current.scope.set(scope)
        try:
            if call.wants_start:
                call.started()
            args, kwargs = arguments(call)
            value = await call.function(*args, **kwargs)
        except BaseException as error:
            if call in self._cancelled:
                self._end_scope(scope, call)
            else:
                scope.end()
                call.failed(told(error))
        else:
            if call in self._cancelled:
                self._end_scope(scope, call)
            else:
                scope.end(keep=runs_in(value))
                call.succeeded(value)
        finally:
            self._tasks.pop(call, None)
            self._cancelled.discard(call)

    def _end_scope(self, scope: current.Scope, call: NodeCall) -> None:
        then = partial(call.cancelled, "killed")
        self._run.hub.post(partial(scope.end, then=then))

    def _over(self, call: NodeCall, _task: asyncio.Task[None]) -> None:
        """Tell of a call that was cancelled before its body was entered."""
        if self._tasks.pop(call, None) is not None:
            self._cancelled.discard(call)
            call.cancelled("already done")
