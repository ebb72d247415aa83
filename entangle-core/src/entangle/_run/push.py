"""The driver of a run of a flow: values are pushed from stage to stage."""

from __future__ import annotations

import weakref
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from entangle._engine_items import HINDERED, ISSUED, PUSH, SUCCEEDED, consumers_of
from entangle._engine_push import arrived
from entangle._graph.callables import name_of
from entangle._graph.candidates import not_taken
from entangle._graph.options import Options
from entangle._graph.program import CHOOSING, Lowered, choice_name, is_choice
from entangle._graph.walk import EDGE_TYPES, edges_in
from entangle._log import Log
from entangle._pool.jobs import TINY_NS
from entangle._worker.attach import Parcel

from .activation import Activation, Chosen, Leaves, chosen_flows, outcome, values_of
from .ahead import encoded_ahead
from .arguments import SHARE
from .calls import Expansion, NodeCall, node_of
from .crew import Crew
from .run import Run
from .values import Encoded, objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._engine_items import Item
    from entangle._graph.node import Node
    from entangle._graph.program import Program
    from entangle._graph.task import Task
    from entangle._pool.pool import Pool

    from .arguments import Batch, Encoder

log = Log("entangle.dataflow")

_NEVER: Final = float("inf")
_CHANGING: Final = frozenset((list, dict, set))
SEVERAL: Final = 2  # processes for which a value is encoded ahead

_GIVEN = Options(how="assemble")
_ALL_LEAVES = Options(how="assemble", tolerant=True)

# How deep in callbacks the calling code is.
_depth: ContextVar[int] = ContextVar("entangle_callbacks", default=0)


class PushCall(NodeCall):
    """A call whose value may go to several processes: encoded once for all."""

    __slots__ = ()

    def succeeded(self, value: Any) -> None:
        # Most values go to one consumer.
        several = type(self.item.consumers) is list and self.item.flags & PUSH
        if several and self.then is None:
            run: Any = self.run
            value = run.shared(self.item, value)
        super().succeeded(value)


class PushRun(Run):
    """One run of a flow, with one input or many.

    Values reach a stage's call from the items of its parents; so all activations share
    the nodes of the program, whose constants are encoded once.
    """

    call_type = PushCall
    pushes = True

    def __init__(self, pool: Pool, program: Program) -> None:
        super().__init__(pool)
        self.program = program
        self.context.run(CHOOSING.set, self._accept)
        depth = self.context.get(_depth, 0)
        # A callback may wait for this run: its own callbacks need another thread.
        self._serial = pool.serial(f"callbacks-{depth}" if depth else "callbacks")
        self._calls_back = False
        self._crew: Crew | None = None
        if program.most is not None:
            self._crew = Crew(program.most, self._let_in)
        self._prepared: WeakSet[Program] = WeakSet()
        # Choosing items that have not chosen, and what they belong to.
        self._deciding: dict[Item, Activation] = {}
        # Under what numbers workers know the values of items.
        self._handed: dict[Item, int] = {}

    # -- from outside the monitor ------------------------------------------------

    def prepare_program(self, program: Program) -> None:
        """Ship the functions and encode the constants of a program, once.

        Raises:
            UnpicklableError: something can't be sent to a process.
        """
        if program in self._prepared:
            return
        batch: Batch = {}
        for stage in program.stages:
            node = stage.node
            # A big constant of one stage is for many inputs: it is sent ahead.
            nodes = [node] * (1 if node.kwargs is None else 2)
            self.places.prepare(node.task, nodes, batch)
            if type(node.task) is Lowered and node.task.callback is not None:
                self._calls_back = True
        if batch:
            nodes = [stage.node for stage in program.stages]
            weakref.finalize(program, _forget_all, self.encoder, nodes).atexit = False
        self._prepared.add(program)

    def _accept(self, returned: object, name: str) -> Chosen:
        """Take what a function has chosen, on its thread."""
        flows = chosen_flows(returned, name)
        if not flows:
            return Chosen(flows, None)
        program = self.program.chosen(flows)
        self.prepare_program(program)
        return Chosen(flows, self.fitting(program))

    def fitting(self, program: Program) -> Program:
        """Return a prepared program, or its fused form if its functions are tiny.

        Raises:
            UnpicklableError: something can't be sent to a process.
        """
        fused = program.fused
        if fused is None or self.watch is not None or self.pool.inline:
            return program
        if self._lately(fused.parts) > TINY_NS:
            return program
        self.prepare_program(fused.program)
        # Of what was not called yet nothing is known but that its parts are tiny.
        return program if self._lately(fused.wholes, 0) > TINY_NS else fused.program

    def _lately(
        self, tasks: tuple[Task[..., Any], ...], unknown: float = _NEVER
    ) -> float:
        """Return how many nanoseconds process tasks have lately taken together."""
        return sum([self.places.mean_ns(task, unknown) for task in tasks])

    def encoded_input(self, value: Any) -> Any:
        """Encode an input where it goes to a process, in the state that it is in now.

        What can't be sent is left to the call, which fails with it.

        Raises:
            TypeError: it is a node, or a run under way, instead of a value.
        """
        if type(value) in EDGE_TYPES:
            raise TypeError(
                f"the flow {self.program.name} was given {value!r}, which is no value "
                "yet: call it, or wait for its result, and give the flow that"
            )
        if self.program.stages[0].options.how != "process":
            return value
        parcel = encoded_ahead(value)
        if parcel is None:
            # A list of a few numbers, say: whose it is may change it before it is sent.
            return value.copy() if type(value) in _CHANGING else value
        # Where calls run inline the object itself would be copied too late.
        return Encoded(parcel) if self.pool.inline else Encoded.of(parcel, value)

    def shared(self, item: Item, value: Any) -> Any:
        """Encode a value that goes to several processes: once, and sent once to each.

        Returns:
            What calls take: the value itself where nothing is gained.
        """
        consumers = consumers_of(item)
        if sum(each.options.how == "process" for each in consumers) < SEVERAL:
            return value
        parcel = value if type(value) is Parcel else encoded_ahead(value)
        if parcel is None:
            return value
        if self.pool.shared_number is not None and parcel.loose >= SHARE:
            parcel.number = self.pool.shared_number()
            self.encoder.numbers.add(parcel.number)
            self._handed[item] = parcel.number
        return value if parcel is value else Encoded.of(parcel, value)

    # -- inside the monitor, or before the run begins ----------------------------

    def activate(self, activation: Activation, value: Any, *, tolerant: bool) -> Item:
        """Add an input; what it comes to is delivered as the value of the item.

        Args:
            activation: The input.
            value: The input as calls get it, perhaps encoded.
            tolerant: Whether its failure leaves the run going on.
        """
        engine = self.engine
        given = engine.given(activation, _GIVEN, value)
        activation.leaves = self._add_program(activation, activation.program, given)
        engine.unpin(given)
        item = engine.add(activation, _ALL_LEAVES, assemble=True)
        engine.link(item, activation.leaves)
        engine.root(item, tolerant=tolerant)
        return item

    def feed(self, batch: list[tuple[Activation, Any]]) -> None:
        """Add inputs while the run is under way."""
        self._feed(self._add_inputs, batch)

    def _add_inputs(self, batch: list[tuple[Activation, Any]]) -> None:
        for activation, value in batch:
            self.activate(activation, value, tolerant=True)
        self.engine.settle(self.clock())

    def begin(self, *, more: bool = False) -> None:
        """Start the run with what was added; inputs to come can't ask for old nodes."""
        super().begin(more=more)
        self.pins.settle(self)

    def _add_program(
        self,
        activation: Activation,
        program: Program,
        given: Item,
        parent: Item | None = None,
    ) -> list[Item]:
        """Add the stages of a program that is fed by an item; return its leaves."""
        engine, relaxed = self.engine, self.places.relaxed
        items: list[Item] = []
        for stage in program.stages:
            options = stage.options
            if relaxed:
                options = relaxed.get(stage.node.task, options)
            item = engine.add(stage.node, options)
            items.append(item)
            if stage.chooses:
                self._deciding[item] = activation
        for stage, item in zip(program.stages, items, strict=True):
            engine.link(item, [given if p < 0 else items[p] for p in stage.parents])
        activation.items.extend(items)
        activation.programs.append(program)
        if self.watch is not None:
            self.watch.added(items, parent)
        return [items[number] for number in program.leaves]

    def _start(self, starts: deque[Item]) -> None:
        if self.watch is not None:
            self.watch.kept_back(starts)
        crew = self._crew
        if crew is not None:
            waiting = list(starts)
            starts.clear()
            starts.extend([i for i in waiting if not _in_crew(i) or crew.admits(i)])
        super()._start(starts)

    def _let_in(self, item: Item) -> None:
        """Start an item that was kept back, if it is still wanted."""
        if not self.finished and item.status == ISSUED:
            self._start(deque((item,)))

    def _cancel(self, item: Item, attempt: int) -> None:
        super()._cancel(item, attempt)
        if self._crew is not None and item not in self._calls:
            self._crew.leave(item)

    def _left(
        self,
        call: NodeCall,
        outcome: str,
        error: BaseException | None = None,
        *,
        value: Any = None,
        cached: bool = False,
    ) -> None:
        super()._left(call, outcome, error, value=value, cached=cached)
        if self._crew is not None:
            self._crew.leave(call.item)

    def _fill(self, call: NodeCall) -> None:
        """Give a call the values of those parents that ran, in the order written."""
        item, node = call.item, call.node
        flags = item.flags
        if not flags & PUSH:
            super()._fill(call)
            return
        if type(node.task) is not Lowered:
            call.name = choice_name(node)
        inputs = arrived(item) if flags & HINDERED else item.inputs
        call.args = (*node.args, *[each.value for each in inputs])

    def calls_succeeded(self) -> None:
        """Bodies returned values, see `landed`; some may be choices."""
        self.landing = False
        while self.landed:
            self.call_succeeded(*self.landed.popleft())

    def call_succeeded(self, call: NodeCall, value: Any) -> None:
        """A body returned a value without nodes, or chose flows."""
        if type(value) is not Chosen:
            super().call_succeeded(call, value)
        elif self.finished:
            self.places.close()  # what was prepared came too late
        elif self._calls.get(call.item) is call:
            self._feed(self._chose, call, value)

    def _succeeded(self, call: NodeCall, value: Any, *, cached: bool = False) -> None:
        super()._succeeded(call, value, cached=cached)
        if self._calls_back and call.item.status == SUCCEEDED:
            self._call_back(call.node, value)

    def kept(self, item: Item, value: Any) -> None:
        """The value of a stage is kept on disk; only now is it told of."""
        super().kept(item, value)
        if self._calls_back and item.status == SUCCEEDED:
            self._call_back(node_of(item), value)

    def _chose(self, call: NodeCall, chosen: Chosen) -> None:
        """Add what was chosen; the choice contributes the values of its leaves."""
        item = call.item
        activation = self._deciding.pop(item)
        self._left(call, "expanded")
        if self.watch is not None:
            for flow in not_taken(call.node.args[0], chosen.flows):
                self.watch.skipped(flow, flow.name)
        leaves: list[Item] = []
        if chosen.program is not None:
            # Its one parent has run, or it would not have been asked.
            fed_by = item.inputs[0]
            leaves = self._add_program(activation, chosen.program, fed_by, item)
            activation.flows += (chosen.flows,)
        self.engine.expanded(
            item, call.attempt, leaves, self.clock(), value=leaves, tolerant=True
        )

    def _assemble(self, item: Item) -> None:
        node: Any = item.node
        if type(node) is Activation:
            if self._calls_back:
                # Behind all of them, on their thread.
                self._serial.call(self.hub.post, self._called_back, item)
            else:
                self._conclude(item)
        elif is_choice(node):
            leaves: Any = item.value
            built = Leaves(values_of(leaves))
            self.engine.assembled(item, built, self.clock())
        else:
            kept = self.keeper is not None and self.keeper.keeps(item)
            super()._assemble(item)
            body_over = type(node) is Expansion  # else it never had one
            if self._calls_back and body_over and item.status == SUCCEEDED and not kept:
                self._call_back(node.node, item.value)

    def _called_back(self, item: Item) -> None:
        self._feed(self._conclude, item)

    def _conclude(self, item: Item) -> None:
        """All stages of an activation are decided, and told of."""
        activation: Any = item.node
        if self.watch is not None:
            for each in activation.skipped():
                node = node_of(each)
                name = choice_name(node) if is_choice(node) else node.name
                self.watch.skipped(each, name)
        error = activation.failure()
        self._forget(activation)
        if error is None:
            built = outcome(values_of(activation.leaves))
            self.engine.assembled(item, built, self.clock())
        else:
            self.engine.unassembled(item, error, self.clock())

    def _forget(self, activation: Activation) -> None:
        """Let go of what only this activation has used."""
        numbers: set[int] = set()
        for item in activation.items:
            if self._handed and item in self._handed:
                numbers.add(self._handed.pop(item))
            if self._deciding:
                self._deciding.pop(item, None)
            if self.watch is not None:
                self.watch.forget(item)
            node: Any = item.node
            if type(node) is Expansion:
                self.forget(edges_in(node.value))
        if numbers:
            self.encoder.numbers -= numbers
            self.pool.forget_shared(numbers)

    # -- callbacks ---------------------------------------------------------------

    def _call_back(self, node: Node[Any], value: Any) -> None:
        if type(node.task) is Lowered and node.task.callback is not None:
            called = self.context.copy()
            called.run(_depth.set, called.get(_depth, 0) + 1)
            self._serial.call(
                called.run, _called, node.task.callback, node.task.told, value
            )


def _called(callback: Callable[[Any, Any], object], function: Any, value: Any) -> None:
    """Call a function of the user's; its errors are nobody else's."""
    try:
        callback(function, objects(value))
    except BaseException:
        log.exception("a callback for %s failed", name_of(function))


def _in_crew(item: Item) -> bool:
    task = node_of(item).task
    return type(task) is Lowered and task.crew


def _forget_all(encoder: Encoder, nodes: list[Node[Any]]) -> None:
    for node in nodes:
        encoder.forget(node)
