"""A flow as a run takes it: flat, each function with how it runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from entangle._graph import rules
from entangle._graph.arity import Arity
from entangle._graph.callables import is_async, name_of
from entangle._graph.facets import Facet
from entangle._graph.flow import Flow
from entangle._graph.node import Node, build
from entangle._graph.options import Options
from entangle._graph.spec import Spec
from entangle._graph.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from entangle._graph.flow_task import FlowTask
    from entangle._graph.fused import Fused

# What a flow's functions run by.
_OF_FLOWS: Final = frozenset({"firing", "callback", "children", "maxworkers"})
_HERE: Final = ("thread", "process")
# The number of no stage: what a flow is called with, or was chosen for.
GIVEN: Final = -1
_PLACES: Final = ("how", "where", "executor")


class Lowered(Task[..., Any]):
    """The plain task that runs a dataflow task.

    Attributes:
        callback: What is told of its values; None for nothing.
        crew: Whether its calls count for ``maxworkers``.
        told: The function that the callback is told of.
        fused: Whether it is several in one.
    """

    __slots__ = ("callback", "crew", "fused", "told")

    callback: Callable[[Any, Any], object] | None
    crew: bool
    told: Any
    fused: bool


class Stage(NamedTuple):
    """One function of a program.

    Attributes:
        node: The call without the values that come in, shared by all activations.
        options: How it runs.
        parents: The numbers of the stages that feed it, in the order written; `GIVEN`
            for what the flow itself is fed with.
        chooses: Whether it is a function that chooses.
    """

    node: Node[Any]
    options: Options
    parents: tuple[int, ...]
    chooses: bool


class Program:
    """A flow as a run takes it. Immutable, but for what it remembers; thread-safe.

    Attributes:
        stages: The functions, in the order in which they are written.
        leaves: The numbers of those whose values come out, and of choosing ones.
        name: The name of the outer task.
        place: Where stages run that don't say so themselves.
        most: How many calls of those may run at once; None for any number.
        parts: By stage, the numbers of the functions that it stands for, as they are
            written.
    """

    __slots__ = (
        "__weakref__",
        "_chosen",
        "_fused",
        "leaves",
        "most",
        "name",
        "parts",
        "place",
        "stages",
    )

    def __init__(
        self,
        name: str,
        stages: tuple[Stage, ...],
        leaves: tuple[int, ...],
        place: Facet,
        most: int | None,
        parts: tuple[Sequence[int], ...] | None = None,
    ) -> None:
        """Keep the parts; each stage stands for one function if none are given."""
        self.name = name
        self.stages = stages
        self.leaves = leaves
        self.place = place
        self.most = most
        if parts is None:
            parts = tuple((number,) for number in range(len(stages)))
        self.parts = parts
        self._fused: Fused | Literal[False] | None = None
        # By the first flow, then by the others that were chosen with it.
        self._chosen: WeakKeyDictionary[Flow, dict[tuple[Flow, ...], Program]]
        self._chosen = WeakKeyDictionary()

    @property
    def fused(self) -> Fused | None:
        """Its fused form, worked out once; None where nothing can be fused."""
        if self._fused is None:
            # Imported here: it is made of this.
            from entangle._graph.fused import fused

            self._fused = fused(self) or False
        return self._fused or None

    def chosen(self, flows: list[Flow]) -> Program:
        """Return the program of flows that were chosen together inside of this one's.

        A node that stands in several of them is one stage.
        """
        programs = self._chosen.setdefault(flows[0], {})
        others = tuple(flows[1:])
        program = programs.get(others)
        if program is None:
            program = programs[others] = _compiled(flows, self.place, self.most)
        return program

    def __repr__(self) -> str:
        """Show the name and the size."""
        return f"<program of {self.name}, {len(self.stages)} stages>"


def functions_of(flows: list[Flow]) -> list[Flow | None]:
    """List the functions of flows as their program numbers them.

    Returns:
        The flow that stands for each function; None for those that choose.
    """
    return [None if isinstance(each, _Choice) else each for each in _Found(flows).order]


def programmed(flow: Flow) -> Program:
    """Compile a flow.

    Raises:
        TypeError: If values and constants don't fit the function they go to.
        CompositionError: If a function can't run where the flow's root says.
    """
    spec = flow.task.spec
    firing = spec.facet("firing")
    origin = "" if firing is None else firing.origin
    stated = spec.facet("children")
    place = "thread" if stated is None or stated.value is None else stated.value
    key = "how" if place in _HERE else "executor"
    return _compiled(
        [flow], Facet(key, place, "@dataflow", origin), spec.value("maxworkers")
    )


class _Found:
    """The nodes of flows in the order written, and what feeds each."""

    def __init__(self, flows: list[Flow]) -> None:
        # Flows, and the places where choosing functions stand: each is its own.
        self.order: list[Flow | _Choice] = []
        self.parents: list[list[int]] = []
        self.leaves: list[int] = []
        self._numbers: dict[Flow, int] = {}
        # What is entered and not left, with the children that are left to be seen.
        self._stack: list[tuple[int, Iterator[Any]]] = []
        for flow in flows:
            self._see(flow, GIVEN)
            while self._stack:
                parent, children = self._stack[-1]
                for child in children:
                    if self._see(child, parent):
                        break  # what it feeds comes first
                else:
                    self._stack.pop()

    def _see(self, each: Any, parent: int) -> bool:
        """Note that something stands below a parent; whether it is to be entered."""
        number = self._numbers.get(each) if isinstance(each, Flow) else None
        if number is not None:
            if parent not in self.parents[number]:
                self.parents[number].append(parent)
            return False
        number = len(self.order)
        self.parents.append([parent])
        if isinstance(each, Flow):
            self._numbers[each] = number
            self.order.append(each)
            if each.children:
                self._stack.append((number, iter(each.children)))
                return True
        else:
            self.order.append(_Choice(each, self.order[parent]))
        self.leaves.append(number)
        return False


class _Choice:
    """A place where a choosing function stands."""

    __slots__ = ("choose", "parent")

    def __init__(self, choose: Callable[[Any], object], parent: Any) -> None:
        self.choose = choose
        self.parent: Flow = parent


def _compiled(flows: list[Flow], place: Facet, most: int | None) -> Program:
    found = _Found(flows)
    stages: list[Stage] = []
    for each, numbers in zip(found.order, found.parents, strict=True):
        parents = tuple(numbers)
        if isinstance(each, _Choice):
            task: Any = choice_later if is_async(each.choose) else choice
            at = each.parent
            first: tuple[Any, ...] = (each.choose,)
            constants = None
            Arity(each.choose, name_of(each.choose)).check((None,), {})
        else:
            at, first, constants = each, each.first, each.constants
            flow_task: Any = each.task
            task = lowered(flow_task, place)
            values = first + (None,) * len(parents)
            task.check(values, constants or {})
        node = build(task, first, constants, at.code, at.lasti)
        stages.append(Stage(node, task.options, parents, isinstance(each, _Choice)))
    return Program(flows[0].name, tuple(stages), tuple(found.leaves), place, most)


def places_itself(spec: Spec) -> bool:
    """Tell whether a task says itself how or where it runs."""
    return any(spec.value(key) is not None for key in _PLACES)


def lowered(task: FlowTask[..., Any], place: Facet) -> Lowered:
    """Return the plain task that runs a dataflow task; always the same one.

    Args:
        task: The task.
        place: Where it runs if it doesn't say so.

    Raises:
        CompositionError: If it can't run there.
    """
    own = places_itself(task.spec)
    key = None if own else (place.key, place.value)
    known: Any = task.lowered.get(key)
    if known is None:
        facets = [each for each in task.spec.facets if each.key not in _OF_FLOWS]
        if not own:
            facets = [each for each in facets if each.key not in _PLACES]
            facets.append(place)
        spec = Spec(facets)
        is_async = task.options.is_async
        rules.check(spec, task=task.name, is_async=is_async)
        options = spec.options(is_async=is_async)._replace(push=True)
        made = Lowered(task.fn, spec, options)
        made.callback = task.spec.value("callback")
        made.crew, made.told, made.fused = not own, task.fn, False
        known = task.lowered.setdefault(key, made)
    found: Lowered = known
    return found


# What takes what a function has chosen: of the run that it belongs to.
CHOOSING: Final[ContextVar[Callable[[object, str], Any]]] = ContextVar("choosing")


def is_choice(node: Any) -> bool:
    """Tell whether a stage's node is that of a function that chooses."""
    task = getattr(node, "task", None)
    return task is choice or task is choice_later


def choice_name(node: Node[Any]) -> str:
    """Return the name of the function that chooses."""
    return name_of(node.args[0])


_CHOOSING = Options(how="thread", push=True)


def _choice(choose: Callable[[Any], object], value: Any) -> Any:
    """Have a function choose; in the calling process."""
    return CHOOSING.get()(choose(value), name_of(choose))


async def _choice_later(choose: Callable[[Any], Any], value: Any) -> Any:
    return CHOOSING.get()(await choose(value), name_of(choose))


# Each for all functions that choose, which it takes as first argument.
choice: Final = Task[..., Any](_choice, Spec(), _CHOOSING)
choice_later: Final = Task[..., Any](
    _choice_later, Spec(), _CHOOSING._replace(is_async=True)
)
