"""Calls in processes: their functions shipped, their arguments encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._graph.node import Node
from entangle._pool.keys import prepare
from entangle._worker import codec
from entangle._worker.sharing import Given
from entangle.errors import UnpicklableError

from .arguments import Batch, payload, publish
from .notes import note_node
from .place import Place
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from entangle._engine_items import Item
    from entangle._graph.options import Options
    from entangle._graph.task import Task
    from entangle._pool.jobs import Payload

    from .calls import NodeCall
    from .run import Run

# What arguments mostly are.
_NOTHING_TO_DO = codec.ATOMS | {Node}

# How a call stands with the pool.
NOT_YET, ENCODED, GIVEN = range(3)


class ProcessPlace(Place):
    """The processes, for the calls of one task in one run."""

    def __init__(
        self,
        run: Run,
        task: Task[..., Any],
        options: Options | None = None,
        *,
        elsewhere: Any = None,
    ) -> None:
        """Use the pool's processes, or some elsewhere.

        Args:
            run: For which run.
            task: For which task.
            options: Its options, where they are others here.
            elsewhere: What starts calls, ends them, and forgets what they share.
        """
        options = options or task.options
        self._run = run
        self._pool = run.pool
        self._processes = run.pool.processes if elsewhere is None else elsewhere
        self._window = Window()
        self._sharing = options.shared_memory
        # A new interpreter takes its time: as long as what is done here meanwhile.
        if not options.fresh and elsewhere is None:
            run.pool.expect_processes(getattr(task.fn, "__module__", ""))
        try:
            function = task.body
            if options.shared_memory:
                function = Given(function)
            shipped = run.pool.shipper.ship(function)
        except codec.EncodeError as error:
            raise UnpicklableError(
                path=error.path, reason=error.reason, node=task.name
            ) from error
        self._prepared = prepare(options, shipped, run.snapshot(), run.pool, task.name)

    @property
    def mean_ns(self) -> float | None:
        """How many nanoseconds the task has lately taken; None before the first."""
        return self._prepared.shipped.mean_ns

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Encode the arguments that are plain objects, while none is sent yet."""
        if node.kwargs is not None or not _NOTHING_TO_DO.issuperset(
            map(type, node.args)
        ):
            self._run.encoder.prepare(node, batch)

    def prepare_all(self, nodes: Iterable[Node[Any]], batch: Batch) -> None:
        """Encode the arguments of several nodes, as `prepare` does."""
        node = None
        try:
            for node in nodes:
                # As `prepare` has it: most need nothing.
                if node.kwargs is not None or not _NOTHING_TO_DO.issuperset(
                    map(type, node.args)
                ):
                    self._run.encoder.prepare(node, batch)
        except UnpicklableError as error:
            if node is not None:
                note_node(error, node)
            raise

    def admit(self, items: list[Item]) -> list[Item]:
        """Let in as many as there is room for."""
        return self._window.admit(items, self._run, self)

    def start(self, call: NodeCall) -> None:
        """Give a call to the pool."""
        self.start_all((call,))

    def start_all(self, calls: Sequence[NodeCall]) -> None:
        """Give calls to the pool, neighbours with plain arguments together."""
        plain: list[NodeCall] = []
        for call in calls:
            if call.kwargs is None and codec.ATOMS.issuperset(map(type, call.args)):
                # As most are: nothing to encode.
                call.given = GIVEN
                plain.append(call)
                continue
            if plain:
                self._start_plain(plain)
                plain = []
            self._start_rich(call)
        if plain:
            self._start_plain(plain)

    def _start_rich(self, call: NodeCall) -> None:
        """Give a call to the pool some of whose arguments may have to be encoded."""
        complete, args, kwargs, encoded = self._run.encoder.quick(
            call.node, call.args, call.kwargs
        )
        call.args, call.kwargs = args, kwargs
        self._window.enter()
        if not complete:
            # Encoding runs code of the user's: not here.
            call.given = ENCODED
            self._pool.encoder.call(self._encode, call)
            return
        call.given = GIVEN
        prepared = self._prepared
        if encoded:
            prepared = prepared._replace(
                payload=payload(args, kwargs, call.function, call.name)
            )
        self._processes.start(call, prepared)

    def _start_plain(self, calls: list[NodeCall]) -> None:
        """Give calls to the pool of whose arguments nothing has to be encoded."""
        self._window.enter(len(calls))
        self._processes.start_all(calls, self._prepared)

    def cancel(self, call: NodeCall) -> None:
        """End a call that is with the pool, or drop one that waits."""
        if call.given == GIVEN:
            self._processes.cancel(call)
        else:
            # Being encoded: nothing runs.
            self._run.unstarted(call)

    def left(self, call: NodeCall) -> None:
        """Let the next call in."""
        if call.given != NOT_YET:
            self._window.leave(self._run, self)

    def all_left(self, calls: Sequence[NodeCall]) -> None:
        """Let the next calls in: these have been with the pool."""
        self._window.leave(self._run, self, len(calls))

    def close(self) -> None:
        """Drop what waits and was encoded; have the workers forget what calls shared."""
        self._window.close()
        self._run.encoder.clear()
        if self._sharing:
            self._processes.run_over(self._run)
        numbers = self._run.encoder.numbers
        if numbers:
            self._pool.forget_shared(numbers)
            self._run.encoder.numbers = set()

    def _encode(self, call: NodeCall) -> None:
        """Encode arguments on the encoder's thread."""
        try:
            packed = self._packed(call)
        except BaseException as error:
            call.failed(error)
        else:
            self._run.hub.post(self._encoded, call, packed)

    def _packed(self, call: NodeCall) -> Payload:
        once = self._run.encoder.once
        try:
            args = tuple([once(value) for value in call.args])
            kwargs = {name: once(value) for name, value in (call.kwargs or {}).items()}
        except codec.EncodeError:
            args, kwargs = call.args, call.kwargs or {}  # what it is will be said here
        publish((*args, *kwargs.values()))
        return payload(args, kwargs, call.function, call.name)

    def _encoded(self, call: NodeCall, packed: Any) -> None:
        if self._run.wanted(call):
            call.given = GIVEN
            self._processes.start(call, self._prepared._replace(payload=packed))
