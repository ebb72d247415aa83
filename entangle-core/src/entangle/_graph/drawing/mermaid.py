"""Graphs as the text of a Mermaid flowchart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from entangle.errors import PictureError

from .sketch import times
from .states import LOOKS

if TYPE_CHECKING:
    from .sketch import Sketch

# What renderers draw at most, and a page that shows a diagram can't raise.
MOST_EDGES: Final = 500
MOST_CHARACTERS: Final = 50_000

_ARROWS: Final = {"value": "-->", "order": "-.->", "choice": "-->"}
_SHAPES: Final = {
    "call": ("[", "]"),
    "helper": ("([", "])"),
    "run": ("([", "])"),
    "choice": ("{", "}"),
}


def written(sketch: Sketch) -> str:
    """Draw a graph as the text of a flowchart.

    Raises:
        PictureError: renderers would refuse it for its size.
    """
    lines = ["flowchart LR"]
    used: dict[str, list[str]] = {}
    for number, card in enumerate(sketch.cards):
        opening, closing = _SHAPES[card.kind]
        lines.append(f'    n{number}{opening}"{escaped(card.headline)}"{closing}')
        if card.state is not None:
            used.setdefault(card.state, []).append(f"n{number}")
    for source, target, kind, count in sketch.arrows:
        many = f"|{times(count)}|" if count > 1 else ""
        lines.append(f"    n{source} {_ARROWS[kind]}{many} n{target}")
    for state, look in LOOKS.items():
        if state in used:
            strong, ground = look.light
            dashed = ",stroke-dasharray:4 4" * (state == "skipped")
            lines.append(
                f"    classDef {state} fill:{ground},stroke:{strong},color:#1f2328"
                f"{dashed}"
            )
            lines.append(f"    class {','.join(used[state])} {state}")
    text = "\n".join(lines)
    for what, count, most in (
        ("edges", len(sketch.arrows), MOST_EDGES),
        ("characters", len(text), MOST_CHARACTERS),
    ):
        if count > most:
            raise PictureError(
                "Mermaid", what=what, count=count, most=most, calls=sketch.calls
            )
    return text


def escaped(text: str) -> str:
    """Write what Mermaid would take for syntax as the entities that it knows."""
    return "".join(_ENTITIES.get(character, character) for character in text)


_ENTITIES: Final = {
    "#": "#35;",
    '"': "#quot;",
    "<": "#lt;",
    ">": "#gt;",
    "&": "#amp;",
    "`": "#96;",
    "\\": "#92;",
}
