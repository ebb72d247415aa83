"""Everything in the calling thread: ``ENTANGLE_INLINE=1``, for debuggers."""

from __future__ import annotations

import contextlib
import heapq
import sys
import time
import warnings
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._pool.limits import Limits
from entangle._pool.rates import Rates
from entangle._worker import codec, failures
from entangle._worker.sharing import handles, unknown
from entangle.errors import TaskError, UnpicklableError

from . import current
from .place import Place
from .thread_place import arguments, scope_of
from .told import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from entangle._graph.node import Node
    from entangle._graph.options import Options

    from .arguments import Batch
    from .calls import NodeCall
    from .run import Run


class InlineHub:
    """A hub without threads: what is posted runs when the calling thread waits."""

    def __init__(self) -> None:
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._agenda: list[tuple[float, int, _Timer]] = []
        self._count = 0
        self.bodies: deque[Callable[[], None]] = deque()

    def post(self, action: Callable[..., None], *args: Any) -> None:
        """Have ``action(*args)`` run soon."""
        self._inbox.append((action, args))

    def at(self, moment: float, action: Callable[[], None]) -> _Timer:
        """Have ``action()`` run at a time of `time.monotonic`."""
        self._count += 1
        timer = _Timer(action)
        heapq.heappush(self._agenda, (moment, self._count, timer))
        return timer

    def active(self, change: int) -> None:
        """Nobody needs to know."""

    def wake_poller(self) -> None:
        """Nobody polls."""

    def attend(self) -> None:
        """Nobody attends."""

    def advance(self, done: Callable[[], bool]) -> None:
        """Work until something is done."""
        while not done():
            if self._inbox:
                action, args = self._inbox.popleft()
                action(*args)
            elif self._agenda and self._agenda[0][0] <= time.monotonic():
                due = heapq.heappop(self._agenda)[2].action
                if due is not None:
                    due()
            elif self.bodies:
                self.bodies.popleft()()
            elif self._agenda:
                time.sleep(max(0.0, self._agenda[0][0] - time.monotonic()))
            else:
                raise RuntimeError("a run waits for what can't happen in one thread")


class _Timer:
    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class _Direct:
    """Runs at once what other pools give to a thread of their own."""

    def call(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def run(self, function: Callable[[], object]) -> None:
        function()


class _Prints:
    """Bodies print for themselves here."""

    def flush(self) -> None:
        """Nothing is stored."""


class InlinePool:
    """What a run needs of a pool, without a thread or a process. One per run."""

    inline = True
    capacity = 1
    shared_number = None

    def __init__(self) -> None:
        self.hub = InlineHub()
        self.notifier = self.threads = _Direct()
        self.printer = _Prints()
        self.limits = Limits()
        self.rates = Rates(self.hub)
        self.runs: set[Any] = set()
        self.unsettled: set[Any] = set()
        failures.task_error = TaskError

    def serial(self, name: str) -> _Direct:
        """Return what runs at once what other pools give to a thread."""
        del name
        return _Direct()

    def admit(self, run: Run) -> None:
        """Nobody shuts it down meanwhile."""

    def start(self, run: Run, *, more: bool = False) -> None:
        """Run everything now, unless more is to come."""
        self.hub.post(partial(run.begin, more=more))
        if not more:
            self.hub.advance(lambda: run.finished)

    def drive(self, run: Run) -> None:
        """Run everything now."""
        self.start(run)

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Give nothing back: there is one thread."""
        return contextlib.nullcontext()

    def until_done(self, future: Any) -> None:
        """Do nothing, as for `waiting`."""

    def finish(self, run: Run) -> None:
        """See a run to its end."""
        self.hub.advance(lambda: run.finished)

    def next_landed(self, landed: SimpleQueue[Any], timeout: float | None) -> Any:
        """Work until something has landed."""
        del timeout  # nothing lands while nobody works
        self.hub.advance(lambda: not landed.empty())
        return landed.get()


def left_out(options: Options) -> list[str]:
    """Return the names of the options that the calling thread can't honour."""
    names = (
        *("timeout", "start", "wait", "fresh", "env", "cwd", "cpus", "scheduler"),
        *("preload", "nice", "executor"),
    )
    return [name for name in names if getattr(options, name)]


class InlinePlace(Place):
    """The calling thread, for all calls of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._hub: Any = run.hub
        self._warned: set[str] = set()
        self._memory: dict[str, bytearray] = {}

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Say which options can't be met here."""
        del batch
        task = node.task
        if task.options.executor is not None:
            from .resolved import refuse_to_replace

            refuse_to_replace(task, "ENTANGLE_INLINE runs all in the calling thread")
        relaxed = left_out(task.options)
        if relaxed and task.name not in self._warned:
            self._warned.add(task.name)
            warnings.warn(
                f"ENTANGLE_INLINE runs {task.name} in the calling thread, which "
                f"cannot honour {', '.join(relaxed)}: relaxed for this run",
                RuntimeWarning,
                stacklevel=2,
            )

    def start(self, call: NodeCall) -> None:
        """Queue the body for the calling thread."""
        self._hub.bodies.append(partial(self._work, call))

    def cancel(self, call: NodeCall) -> None:
        """A body that is not over has not begun: there is one thread."""
        call.cancelled("already done")

    def left(self, call: NodeCall) -> None:
        """Nothing waits for a call's end here."""

    def close(self) -> None:
        """Let go of what the tasks have shared."""
        self._memory.clear()

    def _share(self, nbytes: int) -> tuple[str, memoryview]:
        name = f"entangle-{len(self._memory) + 1}"
        self._memory[name] = bytearray(nbytes)
        return name, memoryview(self._memory[name])

    def _find(self, name: str) -> memoryview:
        if name not in self._memory:
            raise unknown(name)
        return memoryview(self._memory[name])

    def _work(self, call: NodeCall) -> None:
        if not self._run.wanted(call):
            return
        scope = scope_of(call)
        if call.wants_start:
            call.started()
        try:
            value = self._run.context.copy().run(self._body, call, scope)
        except KeyboardInterrupt:
            # There is one thread, and the program's user wants it back.
            raise
        except BaseException as error:
            if _quits(error):
                raise
            call.failed(told(error))
        else:
            call.succeeded(value)

    def _body(self, call: NodeCall, scope: current.Scope) -> Any:
        current.scope.set(scope)
        args, kwargs = arguments(call)
        options = call.options
        if options.how == "process":
            args, kwargs = _copied(args, kwargs, call.name)
        if options.shared_memory:
            kwargs = {**kwargs, **handles(self._share, self._find)}
        value = call.function(*args, **kwargs)
        return _result(value) if options.is_async else value


def _quits(error: BaseException) -> bool:
    """Tell whether a debugger was left: no failure, and nothing to try again."""
    bdb: Any = sys.modules.get("bdb")
    return bdb is not None and isinstance(error, bdb.BdbQuit)


def _result(awaitable: Any) -> Any:
    """Wait for what a coroutine returns."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(awaitable))
    # The loop of this thread is busy: with the `await` that has started the run.
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1, "entangle-inline") as aside:
        run = copy_context().run
        return aside.submit(run, asyncio.run, _awaited(awaitable)).result()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _copied(args: Any, kwargs: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """Return copies, as a process would get them."""
    try:
        copied: tuple[Any, dict[str, Any]] = codec.decode(
            codec.encode((args, kwargs), "arguments")
        )
    except codec.EncodeError as error:
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=name
        ) from error
    return copied
