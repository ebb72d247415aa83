"""What a picture of a graph shows, whatever the format: cards, arrows between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._clean import one_line
from entangle._graph import ops
from entangle._graph.callables import name_of, short
from entangle._graph.flow import Flow
from entangle._graph.frames import position
from entangle._graph.mapping import expand_map, expand_starmap
from entangle._graph.node import Node
from entangle._graph.program import GIVEN, choice_name, is_choice
from entangle._graph.shown import shown
from entangle._graph.walk import edges, edges_in, inputs_first

from .collapse import collapsed
from .states import LOOKS, checked, counted, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import CodeType
    from typing import Literal

    from entangle._graph.program import Program

    from .states import State

    Root = Node[Any] | Flow | Program
    Kind = Literal["call", "helper", "choice", "run"]
    ArrowKind = Literal["value", "order", "choice"]

LARGE: Final = 60  # cards, from which on calls of one line are drawn as one
_NAME: Final = 40  # columns
_LABEL: Final = 48
_VALUE: Final = 24
_VALUES: Final = 8
_PLACE: Final = 28
_UNSAID: Final = frozenset({"process", "assemble", "dataflow"})


class Card(NamedTuple):
    """A call, or several that are drawn as one.

    Attributes:
        name: Of the task.
        label: The name, with the plain arguments where it is one call.
        where: The line that built it, as ``file:line``.
        place: Where it runs, unless that is a plain process.
        kind: What it is: ``'helper'`` for a step of Entangle's own, ``'choice'`` for a
            function that chooses, ``'run'`` for a run that is under way.
        count: How many calls it stands for.
        states: How many of them are in which state; empty if nothing is known.
    """

    name: str
    label: str
    where: str
    place: str
    kind: Kind
    count: int
    states: dict[State, int]

    @property
    def state(self) -> State | None:
        """The state it is drawn in; None if nothing is known."""
        return together(self.states)

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return self.label if self.count == 1 else f"{self.name} {times(self.count)}"

    @property
    def headline(self) -> str:
        """The glyph of its state, and what it is."""
        state = self.state
        return self.title if state is None else f"{LOOKS[state].glyph} {self.title}"

    @property
    def place_in_words(self) -> str:
        """Where it was built, and runs."""
        return " · ".join(filter(None, (self.where, self.place)))


def times(count: int) -> str:
    """Show how many something stands for."""
    return f"×{count:,}"


class Arrow(NamedTuple):
    """What leads from one card to another.

    Attributes:
        source: The number of the card that comes first.
        target: The number of the other.
        kind: Whether a value goes along it, or only the order is said, or a function
            chooses.
        count: How many edges it stands for.
    """

    source: int
    target: int
    kind: ArrowKind
    count: int


class Sketch(NamedTuple):
    """What a picture shows.

    Attributes:
        title: The name of the graph's last, or of the flow's first task.
        cards: Those from which arrows lead come first, where there is no circle.
        arrows: In the order of their targets.
        calls: How many calls the cards stand for.
    """

    title: str
    cards: list[Card]
    arrows: list[Arrow]
    calls: int

    @property
    def states(self) -> dict[State, int]:
        """How many calls are in which state."""
        counts: dict[State, int] = dict.fromkeys(LOOKS, 0)
        for card in self.cards:
            for state, count in card.states.items():
                counts[state] += count
        return {state: count for state, count in counts.items() if count}


def as_data(root: Root) -> dict[str, Any]:
    """Return a graph as plain data: every node with a number, and every edge."""
    whole = sketch(root, large=math.inf)
    return {
        "name": whole.title,
        "nodes": [
            {
                "node": number,
                "name": card.name,
                "label": card.label,
                "where": card.where,
                "place": card.place,
                "kind": card.kind,
            }
            for number, card in enumerate(whole.cards)
        ],
        "edges": [
            {"from": arrow.source, "to": arrow.target, "kind": arrow.kind}
            for arrow in whole.arrows
        ],
    }


class Found(NamedTuple):
    """A graph, before it is decided what is drawn as one.

    Attributes:
        items: Nodes, flows, and what else is drawn.
        sites: By what items are alike: their task, and the line that built them.
        arrows: From, to, and the kind.
    """

    items: list[Any]
    sites: list[Any]
    arrows: list[tuple[int, int, ArrowKind]]


class _Choice:
    """A place where a function stands that chooses; each decides for itself."""

    __slots__ = ("choose", "parent")

    def __init__(self, choose: Any, parent: Flow) -> None:
        self.choose = choose
        self.parent = parent


def sketch(
    root: Root, states: Mapping[Any, str] | None = None, *, large: float = LARGE
) -> Sketch:
    """Say what a picture of a graph shows; nothing runs.

    Args:
        root: A node, a flow, or a flow as a run takes it.
        states: What has become of nodes, see `State`; those of nodes that are not in
            the graph don't matter.
        large: Above how many cards a line's calls are drawn as one.

    Raises:
        ValueError: a state is none.
    """
    if isinstance(root, Node):
        found = _of_node(root)
    else:
        found = _of_flow(root) if isinstance(root, Flow) else _of_program(root)
    known = {key: checked(state) for key, state in (states or {}).items()}
    if len(found.items) > large:
        groups = collapsed(found.sites, found.arrows)
    else:
        groups = [[number] for number in range(len(found.items))]
    lines: dict[tuple[Any, int], str] = {}
    cards = [_card([found.items[n] for n in group], known, lines) for group in groups]
    of_item = {n: card for card, group in enumerate(groups) for n in group}
    counts: dict[tuple[int, int, ArrowKind], int] = {}
    for source, target, kind in found.arrows:
        key = of_item[source], of_item[target], kind
        counts[key] = counts.get(key, 0) + 1
    arrows = [Arrow(*key, count) for key, count in counts.items()]
    return Sketch(one_line(root.name, _NAME), cards, arrows, len(found.items))


def _of_node(root: Node[Any]) -> Found:
    order = inputs_first(root, lambda each: edges(each) if type(each) is Node else ())
    numbers = {each: number for number, each in enumerate(order)}
    sites: list[Any] = []
    arrows: list[tuple[int, int, ArrowKind]] = []
    for number, each in enumerate(order):
        if type(each) is not Node:
            sites.append(type(each))
            continue
        # Comparing code would take longer than the rest.
        sites.append((each.task, id(each.code), each.lasti))
        after = frozenset(each.follows or ())
        for other in edges(each):
            kind: ArrowKind = "order" if other in after else "value"
            arrows.append((numbers[other], number, kind))
    return Found(order, sites, arrows)


def _of_flow(root: Flow) -> Found:
    below: dict[Any, list[Any]] = {}

    def fed(each: Any) -> list[Any]:
        if not isinstance(each, Flow):
            return []
        if each not in below:
            below[each] = [
                child if isinstance(child, Flow) else _Choice(child, each)
                for child in each.children
            ]
        return below[each][::-1]

    # What feeds others comes first, and those in the order written.
    order = inputs_first(root, fed)[::-1]
    numbers = {each: number for number, each in enumerate(order)}
    found = Found(order, [], [])
    for number, each in enumerate(order):
        if isinstance(each, Flow):
            found.sites.append((each.task, id(each.code), each.lasti))
        else:
            found.sites.append((id(each.choose), id(each.parent.code), number))
        for child in below.get(each, ()):
            kind: ArrowKind = "value" if isinstance(child, Flow) else "choice"
            found.arrows.append((number, numbers[child], kind))
    return found


def _of_program(program: Program) -> Found:
    """A flow as a run takes it: its stages are nodes, which stand for themselves."""
    found = Found([stage.node for stage in program.stages], [], [])
    for number, stage in enumerate(program.stages):
        node = stage.node
        found.sites.append((node.task, id(node.code), node.lasti))
        kind: ArrowKind = "choice" if stage.chooses else "value"
        found.arrows.extend(
            (parent, number, kind) for parent in stage.parents if parent != GIVEN
        )
    return found


def _card(
    items: list[Any],
    states: Mapping[Any, State],
    lines: dict[tuple[Any, int], str],
) -> Card:
    first = items[0]
    count = len(items)
    counts = counted(states[each] for each in items if each in states) if states else {}
    if isinstance(first, _Choice):
        name, where = name_of(first.choose), _line(first.parent, lines)
        return _choosing(name, where, count, counts)
    if not isinstance(first, (Node, Flow)):
        return Card(*("run", "a run under way", "", "", "run"), count, counts)
    if is_choice(first):
        return _choosing(choice_name(first), _line(first, lines), count, counts)
    name = _fitting(short(first.name))
    label = name if count > 1 else one_line(_called(first, name), _LABEL)
    kind: Kind = "helper" if first.task in _HELPERS else "call"
    place = "" if kind == "helper" else _place(first.task)
    where = "" if kind == "helper" else _line(first, lines)
    return Card(name, label, where, place, kind, count, counts)


def _choosing(name: str, where: str, count: int, counts: dict[State, int]) -> Card:
    name = _fitting(short(name))
    return Card(name, f"{name}?", where, "", "choice", count, counts)


def _line(item: Node[Any] | Flow, lines: dict[tuple[Any, int], str]) -> str:
    """Return the line that built something, with the name of the file alone."""
    code: CodeType | str = item.code
    key = code, item.lasti
    if key not in lines:
        if isinstance(code, str):
            text = code
        else:
            text = f"{code.co_filename}:{position(code, item.lasti)[0]}"
        lines[key] = one_line(text.rpartition("/")[2], _NAME)
    return lines[key]


def _place(task: Any) -> str:
    options = task.options
    place = options.executor
    if place is None:
        return "" if options.how in _UNSAID else str(options.how)
    return place if isinstance(place, str) else shown(place, _PLACE)


_HELPERS: Final = frozenset(
    {
        *(ops.gather, ops.gather_tolerant, ops.same, ops.getitem, ops.call_or_item),
        *(ops.unpacked, expand_map, expand_starmap),
    }
)


def _called(item: Node[Any] | Flow, name: str) -> str:
    """Return a call as it may have been written, without what arrows say."""
    if isinstance(item, Flow):
        return _with(name, _values((), item.constants or {}))
    task, args = item.task, item.args
    if task is ops.getitem:
        return f"[{shown(args[1], _VALUE)}]"
    if task is ops.unpacked:
        return f"unpack({args[1]})"
    if task is expand_map or task is expand_starmap:
        return f"map {short(name_of(args[0].fn))}"
    plain = [value for value in args if not edges_in(value)]
    if task is ops.gather or task is ops.gather_tolerant:
        plain = []
    kwargs = item.kwargs or {}
    named = {key: value for key, value in kwargs.items() if not edges_in(value)}
    return _with(name, _values(plain, named))


def _values(plain: Iterable[Any], named: dict[str, Any]) -> Iterator[str]:
    pairs = [*(("", value) for value in plain), *named.items()]
    for key, value in pairs[:_VALUES]:
        text = shown(value, _VALUE)
        yield f"{key}={text}" if key else text
    if len(pairs) > _VALUES:
        yield "…"


def _with(name: str, values: Iterable[str]) -> str:
    given = ", ".join(values)
    return f"{name}({given})" if given else name


def _fitting(name: str) -> str:
    return one_line(name, _NAME)
