"""What a picture of a graph shows, whatever the format: cards, arrows between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._graph.callables import kind_of, name_of
from entangle._graph.flow import Flow
from entangle._graph.node import Node
from entangle._graph.program import choice_name, is_choice

from .collapse import collapsed
from .found import Choice, found
from .labels import HELPERS, label_of, line_of, name_in, place_of
from .states import LOOKS, checked, counted, together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from .found import ArrowKind, Root
    from .states import State

    Kind = Literal["call", "helper", "choice", "run"]

LARGE: Final = 60  # cards, above which calls of one line are drawn as one


@dataclass(frozen=True, slots=True)
class Card:
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


@dataclass(frozen=True, slots=True)
class Arrow:
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
        cards: In the order of the program.
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
    graph = found(root)
    given: Mapping[Any, str] = states or {}
    known: dict[Any, State] = {key: checked(given[key]) for key in given}
    if len(graph.items) > large:
        groups = collapsed(graph.sites, graph.arrows)
    else:
        groups = [[number] for number in range(len(graph.items))]
    lines: dict[tuple[Any, int], str] = {}
    cards = [_card([graph.items[n] for n in group], known, lines) for group in groups]
    of_item = {n: card for card, group in enumerate(groups) for n in group}
    counts: dict[tuple[int, int, ArrowKind], int] = {}
    for source, target, kind in graph.arrows:
        key = of_item[source], of_item[target], kind
        counts[key] = counts.get(key, 0) + 1
    arrows = [Arrow(*key, count) for key, count in counts.items()]
    return Sketch(name_in(root.name), cards, arrows, len(graph.items))


def _card(
    items: list[Any],
    states: Mapping[Any, State],
    lines: dict[tuple[Any, int], str],
) -> Card:
    first: Any = items[0]
    count = len(items)
    counts = counted(states[each] for each in items if each in states) if states else {}

    def where(item: Node[Any] | Flow) -> str:
        key = item.code, item.lasti
        if key not in lines:
            lines[key] = line_of(item)
        return lines[key]

    def choosing(name: str, item: Node[Any] | Flow) -> Card:
        name = name_in(name)
        return Card(name, f"{name}?", where(item), "", "choice", count, counts)

    if isinstance(first, Choice):
        return choosing(name_of(first.choose), first.parent)
    kind = kind_of(first)
    if kind is not Node and kind is not Flow:
        return Card("run", "a run under way", "", "", "run", count, counts)
    if is_choice(first):
        return choosing(choice_name(first), first)
    name = name_in(first.name)
    label = name if count > 1 else label_of(first)
    if first.task in HELPERS:
        return Card(name, label, "", "", "helper", count, counts)
    place = place_of(first.task)
    return Card(name, label, where(first), place, "call", count, counts)
