"""Calls in executors: of targets, by name, or given to ``@task(executor=...)``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from entangle._engine import GRACE

from .place import Place
from .thread_place import arguments
from .told import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.node import Node
    from entangle._graph.task import Task
    from entangle._seam.executor import Executor

    from .arguments import Batch
    from .calls import NodeCall
    from .run import Run


def place_at(
    run: Run,
    task: Task[..., Any],
    executor: Executor,
    done: Callable[[], None] | None = None,
) -> Place:
    """Return the place of a task's calls in an executor; `ExecutorPlace` says more.

    Raises:
        Exception: the task's function can't be sent there, say.
    """
    # Where it is not imported nobody can have made one.
    streams = sys.modules.get("entangle._run.stream_executor")
    if streams is not None and streams.is_plain(executor):
        from .stream_place import StreamPlace

        return StreamPlace(run, task, streams.crew_of(executor), done)
    return ExecutorPlace(run, executor, done)


class ExecutorPlace(Place):
    """One executor, for one run. All calls into it are made on one thread."""

    def __init__(
        self, run: Run, executor: Executor, done: Callable[[], None] | None = None
    ) -> None:
        """Use an executor.

        Args:
            run: For which run.
            executor: The executor.
            done: Called, inside the monitor, when the run needs it no more.
        """
        self._executor = executor
        self._done = done
        name = f"executor-{type(executor).__name__}-{id(executor):x}"
        self._serial = run.pool.serial(name)

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Nothing: how arguments travel is the executor's affair."""

    def start(self, call: NodeCall) -> None:
        """Give the call to the executor."""
        self._serial.call(self._start, call)

    def cancel(self, call: NodeCall) -> None:
        """End the call as far as the executor can."""
        self._serial.call(self._cancel, call)

    def left(self, call: NodeCall) -> None:
        """Nothing waits for a call's end here."""

    def close(self) -> None:
        """Let go of the executor."""
        if self._done is not None:
            done, self._done = self._done, None
            done()

    def _start(self, call: NodeCall) -> None:
        try:
            call.args, call.kwargs = arguments(call)
            if call.wants_start and not self._executor.capabilities.started:
                # When it really starts is not to be known: being handed over counts.
                call.started()
            self._executor.start(call)
        except BaseException as error:
            call.failed(told(error))

    def _cancel(self, call: NodeCall) -> None:
        try:
            self._executor.cancel(call, GRACE)
        except Exception:
            call.cancelled("cannot kill")
            raise
