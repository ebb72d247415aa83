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
    from collections.abc import Callable

    from entangle._graph.flow_task import FlowTask

# What a flow's functions run by.
_OF_FLOWS: Final = frozenset({"firing", "callback", "children", "maxworkers"})
_HERE: Final = ("thread", "process")
_PLACES: Final = ("how", "where", "executor")


class Lowered(Task[..., Any]):
    """The plain task that runs a dataflow task.

    Attributes:
        callback: What is told of its values; None for nothing.
        crew: Whether its calls count for ``maxworkers``.
    """

    __slots__ = ("callback", "crew")

    callback: Callable[[Any, Any], object] | None
    crew: bool


class Stage(NamedTuple):
    """One function of a program.

    Attributes:
        node: The call without the values that come in, shared by all activations.
        options: How it runs.
        parents: The numbers of the stages that feed it, in the order written; none for
            the first.
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
    """

    __slots__ = (
        "__weakref__",
        "_chosen",
        "leaves",
        "most",
        "name",
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
    ) -> None:
        """Keep the parts."""
        self.name = name
        self.stages = stages
        self.leaves = leaves
        self.place = place
        self.most = most
        self._chosen: WeakKeyDictionary[Flow, Program] = WeakKeyDictionary()

    def chosen(self, flow: Flow) -> Program:
        """Return the program of a flow that was chosen inside of this one's."""
        program = self._chosen.get(flow)
        if program is None:
            program = _compiled(flow, self.place, self.most)
            self._chosen[flow] = program
        return program

    def __repr__(self) -> str:
        """Show the name and the size."""
        return f"<program of {self.name}, {len(self.stages)} stages>"


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
        flow, Facet(key, place, "@dataflow", origin), spec.value("maxworkers")
    )


class _Found:
    """The nodes of a flow in the order written, and what feeds each."""

    def __init__(self, flow: Flow) -> None:
        # Flows, and the places where choosing functions stand: each is its own.
        self.order: list[Flow | _Choice] = []
        self.parents: dict[Flow | _Choice, list[int]] = {}
        self.leaves: list[int] = []
        numbers: dict[Flow | _Choice, int] = {}
        stack: list[tuple[int, Any]] = []

        def enter(each: Flow | _Choice, parents: list[int]) -> None:
            number = numbers[each] = len(self.order)
            self.order.append(each)
            self.parents[each] = parents
            if isinstance(each, Flow) and each.children:
                stack.append((number, iter(each.children)))
            else:
                self.leaves.append(number)

        enter(flow, [])
        while stack:
            parent, children = stack[-1]
            for child in children:
                if not isinstance(child, Flow):
                    enter(_Choice(child, self.order[parent]), [parent])
                elif child not in numbers:
                    enter(child, [parent])
                    if child.children:
                        break
                elif parent not in self.parents[child]:
                    self.parents[child].append(parent)
            else:
                stack.pop()


class _Choice:
    """A place where a choosing function stands."""

    __slots__ = ("choose", "parent")

    def __init__(self, choose: Callable[[Any], object], parent: Any) -> None:
        self.choose = choose
        self.parent: Flow = parent


def _compiled(flow: Flow, place: Facet, most: int | None) -> Program:
    found = _Found(flow)
    stages: list[Stage] = []
    for each in found.order:
        parents = tuple(found.parents[each])
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
            values = first + (None,) * (len(parents) or 1)
            task.check(values, constants or {})
        node = build(task, first, constants, at.code, at.lasti)
        stages.append(Stage(node, task.options, parents, isinstance(each, _Choice)))
    return Program(flow.name, tuple(stages), tuple(found.leaves), place, most)


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
        made.crew = not own
        known = task.lowered.setdefault(key, made)
    found: Lowered = known
    return found


# What takes what a function has chosen: of the run that it belongs to.
CHOOSING: Final[ContextVar[Callable[[object, str], Any]]] = ContextVar("choosing")

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
