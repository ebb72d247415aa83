"""The places of core as executors: inline, threads, processes."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from entangle._log import Log
from entangle._pool import pool as pools
from entangle._pool.keys import prepare
from entangle._seam.call import Call
from entangle._seam.executor import Capabilities, Executor
from entangle._worker import codec
from entangle._worker.attach import Parcel
from entangle.errors import TaskError, UnpicklableError

from .arguments import payload
from .told import told
from .values import Encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.options import Options
    from entangle._pool.jobs import Prepared
    from entangle._pool.pool import Pool


log = Log("entangle.run")


class InlineExecutor(Executor):
    """Runs each call at once, in the thread that submits it."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        started=True, shared_objects=True, output=True, concurrent=False
    )

    def start(self, call: Call) -> None:
        """Run the call; it is over when this returns."""
        call.started()
        try:
            value = call.invoke()
        except BaseException as error:
            call.failed(told(error))
            if isinstance(error, KeyboardInterrupt):
                raise  # it is the submitter's own
        else:
            call.succeeded(value)

    def cancel(self, call: Call, grace: float) -> None:
        """Nothing can be running: the call is over."""


class ThreadExecutor(Executor):
    """Runs calls in the threads that all of Entangle shares in this process."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        started=True, shared_objects=True, output=True
    )

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._begun: dict[Call, bool] = {}

    def start(self, call: Call) -> None:
        """Give the call to a thread."""
        with self._guard:
            self._begun[call] = False
        pools.get().threads.run(lambda: self._work(call))

    def cancel(self, call: Call, grace: float) -> None:
        """Drop a call that has not begun, else abandon it."""
        del grace
        with self._guard:
            begun = self._begun.get(call)
            if begun is None:
                return
            # What becomes of its body is of no interest any more.
            del self._begun[call]
        call.cancelled("abandoned" if begun else "already done")

    def _work(self, call: Call) -> None:
        with self._guard:
            if call not in self._begun:
                return
            self._begun[call] = True
        call.started()
        value: Any = None
        failure: BaseException | None = None
        try:
            value = call.invoke()
        except BaseException as error:
            failure = told(error)
        with self._guard:
            if self._begun.pop(call, None) is None:
                return
        if failure is None:
            call.succeeded(value)
        else:
            call.failed(failure)


class ProcessExecutor(Executor):
    """Runs calls in the worker processes that all of Entangle shares in this process.

    Functions and values may be defined anywhere, as for ``@process``.

    Args:
        options: How its calls want to be run: ``fresh``, ``env``, ``cwd``, ``nice``,
            ``cpus``, ``preload`` are honoured.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kill=True, started=True, process=True, fresh=True, cpus=True, output=True
    )

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        self._options = options
        self._relays: dict[Call, Relayed] = {}
        self._guard = threading.Lock()

    def start(self, call: Call) -> None:
        """Encode the call and queue it.

        Raises:
            UnpicklableError: the function or an argument can't be sent.
        """
        pool = pools.get()
        options = self._options if self._options is not None else call.options
        try:
            shipped = pool.shipper.ship(call.function)
        except codec.EncodeError as error:
            raise UnpicklableError(
                path=error.path, reason=error.reason, node=call.name
            ) from error
        packed = None
        if not plain(call):
            packed = payload(call.args, call.kwargs, call.function, call.name)
        snapshot = pool.snapshots.now()
        prepared = prepare(options, shipped, snapshot, pool, call.name)
        prepared = prepared._replace(payload=packed)
        relayed = Relayed(call, pool, self._over, pool.processes)
        with self._guard:
            self._relays[call] = relayed
        pool.hub.post(relayed.begin, prepared)
        pool.hub.attend()
        if pool.hub.stopped and call in self._relays:
            relayed.cancelled("already done")  # shutdown() was faster

    def cancel(self, call: Call, grace: float) -> None:
        """End the call's process with all that it started."""
        del grace
        with self._guard:
            relayed = self._relays.get(call)
        if relayed is not None:
            relayed.give_up()

    def _over(self, call: Call) -> None:
        with self._guard:
            self._relays.pop(call, None)


class Relayed(Call):
    """Stands for a call in the pool and passes on its reports, decoded."""

    __slots__ = ("_call", "_over", "_pool", "_processes")

    def __init__(
        self,
        call: Call,
        pool: Pool,
        over: Callable[[Call], None],
        processes: Any,
    ) -> None:
        """Stand for a call.

        Args:
            call: The call.
            pool: The process's pool.
            over: Told of the call when it is over.
            processes: What runs it: the pool's own processes, or some elsewhere.
        """
        super().__init__(
            call.function,
            call.args,
            call.kwargs,
            name=call.name,
            options=call.options,
            wants_start=call.wants_start,
        )
        self._call = call
        self._pool = pool
        self._over = over
        self._processes = processes
        self.captures = call.captures

    def rank(self) -> tuple[int, int]:
        return self._call.rank()

    @property
    def root(self) -> int:
        """When the outermost call came that waits for it; 0 where that is itself."""
        return getattr(self._call, "root", 0)

    def run_of(self) -> object:
        return self._call.run_of()

    def run_id(self) -> str:
        return self._call.run_id()

    def seen(self) -> Any:
        return self._call.seen()

    @property
    def slot(self) -> Any:
        """What the call takes of its task's limit, None without one."""
        return getattr(self._call, "slot", None)

    def begin(self, prepared: Prepared) -> None:
        """Queue the call; inside the monitor."""
        # Somebody has to poll for it.
        self._pool.hub.active(1)
        self._processes.start(self, prepared)

    def give_up(self) -> None:
        """Have the call ended."""
        self._pool.hub.post(self._processes.cancel, self)

    def started(self, at: float | None = None) -> None:
        self._call.started(at)

    def output(self, stream: str, text: str) -> None:
        if self.captures:
            self._call.output(stream, text)
        else:
            self._pool.printer.take(stream, self, text)

    def succeeded(self, value: Any) -> None:
        self._end(self._tell_value, value)

    def failed(self, error: BaseException) -> None:
        self._end(self._call.failed, error)

    def failed_encoded(self, data: bytes) -> None:
        self._end(self._call.failed_encoded, data)

    def cancelled(self, how: str) -> None:
        self._end(self._call.cancelled, how)

    def returned_graph(self, blob: Any) -> None:
        self._end(self._call.returned_graph, blob)

    def _end(self, tell: Callable[[Any], None], detail: Any) -> None:
        # Decoding, and whoever is told, may run code of the user's: not in here.
        self._pool.hub.active(-1)
        self._over(self._call)
        self._pool.threads.run(partial(self._tell, tell, detail))

    def _tell(self, tell: Callable[[Any], None], detail: Any) -> None:
        self._pool.printer.flush()
        try:
            tell(detail)
        except BaseException:
            # A callback of the user's.
            log.exception("a callback failed")

    def _tell_value(self, value: Any) -> None:
        if type(value) is Parcel:
            try:
                value = Encoded(value).object()
            except TaskError as error:
                self._call.failed(error)
                return
        self._call.succeeded(value)


def plain(call: Call) -> bool:
    """Tell whether a call's arguments can travel without being encoded first."""
    return all(map(codec.simple, call.args)) and all(
        map(codec.simple, (call.kwargs or {}).values())
    )
