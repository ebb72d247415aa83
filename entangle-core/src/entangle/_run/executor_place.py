"""Calls in an executor that was given to ``@task(executor=...)``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._engine import GRACE
from entangle._seam.call import awaited
from entangle._seam.executor import Executor
from entangle._worker import functions

from .thread_place import arguments, told

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from entangle._graph.node import Node

    from .arguments import Batch
    from .calls import NodeCall
    from .run import Run


class Portable:
    """A function that any executor can take, whether it pickles its work or not.

    A decorated function doesn't pickle by its name, which is its task's; this does,
    by name or by value, like all functions that go to our own workers.
    """

    def __init__(self, function: Callable[..., Any], is_async: object) -> None:
        self._function = function
        self._is_async = is_async

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; what is a coroutine is run to its end."""
        value = self._function(*args, **kwargs)
        return awaited(value) if self._is_async else value

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the function's encoded form."""
        data = functions.encode_function(self._function)
        return _portable, (data, self._is_async)


def _portable(data: bytes, is_async: object) -> Portable:
    return Portable(functions.decode_function(data), is_async)


class ExecutorPlace:
    """One executor, for one run. All calls into it are made on one thread."""

    def __init__(self, run: Run, executor: Any) -> None:
        self._run = run
        self._executor = executor
        name = f"executor-{type(executor).__name__}-{id(executor):x}"
        self._serial = run.pool.serial(name)
        self._futures: dict[NodeCall, Future[Any]] = {}

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Nothing: how arguments travel is the executor's affair."""

    def start(self, call: NodeCall) -> None:
        """Submit the call."""
        self._serial.call(self._submit, call)

    def cancel(self, call: NodeCall) -> None:
        """End the call as far as the executor can."""
        self._serial.call(self._end, call)

    def left(self, call: NodeCall) -> None:
        """Forget the call's future."""
        self._serial.call(self._futures.pop, call, None)

    def close(self) -> None:
        """Nothing: the executor is its owner's."""

    def _submit(self, call: NodeCall) -> None:
        try:
            args, kwargs = arguments(call)
            if isinstance(self._executor, Executor):
                call.args, call.kwargs = args, kwargs
                self._executor.start(call)
                return
            future = self._executor.submit(
                Portable(call.function, call.options.is_async), *args, **kwargs
            )
        except BaseException as error:
            call.failed(told(error))
            return
        self._futures[call] = future
        if call.wants_start:
            # When it really starts is not to be known here; being taken counts.
            call.started()
        future.add_done_callback(partial(_landed, call))

    def _end(self, call: NodeCall) -> None:
        try:
            if isinstance(self._executor, Executor):
                self._executor.cancel(call, GRACE)
                return
            future = self._futures.get(call)
            if future is None or not future.cancel():
                call.cancelled("abandoned" if future is not None else "already done")
        except Exception:
            call.cancelled("cannot kill")
            raise


def _landed(call: NodeCall, future: Future[Any]) -> None:
    if future.cancelled():
        call.cancelled("already done")
        return
    error = future.exception()
    if error is None:
        call.succeeded(future.result())
    else:
        call.failed(told(error))
