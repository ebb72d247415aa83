"""Graphs in the language of Graphviz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .sketch import times
from .states import LOOKS

if TYPE_CHECKING:
    from .sketch import Card, Sketch

_NODE: Final = (
    '  node [fontname="monospace", fontsize=11, style="rounded,filled", '
    'fillcolor="#ffffff", color="#afb8c1", fontcolor="#1f2328"]'
)
_SHAPES: Final = {"call": "box", "helper": "box", "run": "box", "choice": "hexagon"}


def written(sketch: Sketch) -> str:
    """Draw a graph as the text that ``dot`` takes."""
    lines = [
        f"digraph {quoted(sketch.title)} {{",
        '  graph [rankdir=LR, bgcolor="transparent"]',
        _NODE,
        '  edge [color="#8c959f", arrowsize=0.7]',
    ]
    lines += [
        f"  n{number} [{_card(card)}]" for number, card in enumerate(sketch.cards)
    ]
    for source, target, kind, count in sketch.arrows:
        options = ["style=dashed"] if kind == "order" else []
        if count > 1:
            options += [f"label={quoted(times(count))}", "penwidth=2"]
        more = f" [{', '.join(options)}]" if options else ""
        lines.append(f"  n{source} -> n{target}{more}")
    return "\n".join([*lines, "}"])


def _card(card: Card) -> str:
    state = card.state
    label = "\n".join(filter(None, (card.headline, card.place_in_words)))
    options = [f"label={quoted(label)}", f"shape={_SHAPES[card.kind]}"]
    if state is not None:
        strong, ground = LOOKS[state].light
        options += [f"color={quoted(strong)}", f"fillcolor={quoted(ground)}"]
    if state == "skipped":
        options.append('style="rounded,filled,dashed"')
    elif card.kind == "choice":
        options.append('style="filled"')
    return ", ".join(options)


def quoted(text: str) -> str:
    """Quote a text so that Graphviz takes it for itself, whatever is in it."""
    # In labels, & begins an entity, and a backslash an escape.
    text = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n") + '"'
