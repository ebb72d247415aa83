"""Executors of somebody else's, behind the interface of ours."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from entangle._seam.call import awaited
from entangle._seam.executor import Capabilities, Executor
from entangle._worker import functions

from .told import told

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable
    from concurrent.futures import Future

    from entangle._seam.call import Call


class ForeignExecutor(Executor):
    """Runs calls in any `concurrent.futures.Executor`.

    What it can't tell is not declared: a running call is abandoned, and nothing is
    said of starts.

    Args:
        executor: The executor.
        owned: Whether `shutdown` shuts it down, too.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(
        self, executor: concurrent.futures.Executor, *, owned: bool = False
    ) -> None:
        super().__init__()
        self._executor = executor
        self._owned = owned
        self._guard = threading.Lock()
        self._landing: dict[Call, Future[Any]] = {}

    def start(self, call: Call) -> None:
        """Submit the call.

        Raises:
            Exception: what the executor raises.
        """
        portable = Portable(call.function, call.options.is_async)
        future = self._executor.submit(portable, *call.args, **(call.kwargs or {}))
        with self._guard:
            self._landing[call] = future
        future.add_done_callback(partial(self._landed, call))

    def cancel(self, call: Call, grace: float) -> None:
        """Take the call back, or abandon it."""
        del grace
        with self._guard:
            future = self._landing.get(call)
        if future is None or future.cancel():
            return
        with self._guard:
            abandoned = self._landing.pop(call, None) is not None
        if abandoned:
            call.cancelled("abandoned")

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as in the base class
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls; shut the executor down if it is owned."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._owned:
            self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def _landed(self, call: Call, future: Future[Any]) -> None:
        with self._guard:
            if self._landing.pop(call, None) is None:
                return  # it was abandoned
        if future.cancelled():
            call.cancelled("already done")
            return
        error = future.exception()
        if error is None:
            call.succeeded(future.result())
        else:
            call.failed(told(error))


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
