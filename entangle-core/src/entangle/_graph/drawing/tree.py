"""Graphs as a tree of lines, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sketch import Card, Sketch


def written(sketch: Sketch, *, inputs: bool) -> str:
    """Draw a graph as a tree; what is reached twice is drawn once.

    Args:
        sketch: What to draw.
        inputs: Whether what something takes is below it, else what it feeds.
    """
    return "\n".join(_lines(sketch, inputs=inputs))


def _lines(sketch: Sketch, *, inputs: bool) -> Iterator[str]:
    below: list[list[int]] = [[] for _ in sketch.cards]
    leads: set[int] = set()
    looped: set[int] = set()
    for source, target, _, _ in sketch.arrows:
        if source == target:
            looped.add(source)
            continue
        upper, lower = (target, source) if inputs else (source, target)
        if lower not in below[upper]:
            below[upper].append(lower)
            leads.add(lower)
    count = len(sketch.cards)
    tops = [number for number in range(count) if number not in leads]
    # In a circle each is below another: the last in the program's order is on top.
    tops = tops or [count - 1 if inputs else 0][:count]
    drawn: set[int] = set()
    stack = [(number, "", "") for number in reversed(tops)]
    while stack:
        number, first, rest = stack.pop()
        card = sketch.cards[number]
        again = number in drawn
        more = " (above)" if again and below[number] else ""
        yield f"{first}{_shown(card)}{' ↺' * (number in looped)}{more}"
        if again:
            continue
        drawn.add(number)
        others = below[number]
        for index in range(len(others) - 1, -1, -1):
            last = index == len(others) - 1
            stack.append(
                (
                    others[index],
                    rest + ("└─ " if last else "├─ "),
                    rest + ("   " if last else "│  "),
                )
            )


def _shown(card: Card) -> str:
    return "  ".join(filter(None, (card.headline, card.place_in_words)))
