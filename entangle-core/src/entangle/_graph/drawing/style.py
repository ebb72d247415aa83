"""How pictures look, by day and by night."""

from __future__ import annotations

from typing import Final

from .states import LOOKS

FONT: Final = "ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace"

_LIGHT: Final = {
    "page": "#ffffff",
    "line": "#8c959f",
    "card": "#ffffff",
    "edge": "#afb8c1",
    "text": "#1f2328",
    "note": "#59636e",
    "soft": "#f6f8fa",
    "accent": "#1976d2",
}
_DARK: Final = {
    "page": "#0d1117",
    "line": "#6e7681",
    "card": "#161b22",
    "edge": "#3d444d",
    "text": "#e6edf3",
    "note": "#9198a1",
    "soft": "#0d1117",
    "accent": "#6cb2ff",
}


def style() -> str:
    """Return the style sheet of a picture; it touches nothing beside the picture."""
    day = _rules(_LIGHT, {state: look.light for state, look in LOOKS.items()})
    night = _rules(_DARK, {state: look.dark for state, look in LOOKS.items()})
    return f"{_SHAPES}{day}@media(prefers-color-scheme:dark){{{night}}}"


_SHAPES: Final = (
    ".entangle path{fill:none;stroke-width:1.4}"
    ".entangle .many{stroke-width:2.4}"
    ".entangle .order,.entangle .skipped .box{stroke-dasharray:4 4}"
    ".entangle .box,.entangle .below{stroke-width:1.2}"
    ".entangle .label{font-size:12px;font-weight:600}"
    ".entangle .helper .label,.entangle .run .label{font-weight:400}"
    ".entangle .note{font-size:10px}"
    ".entangle .glyph{font-size:14px;font-weight:700}"
    ".entangle .times{font-size:12px;font-weight:700;text-anchor:end}"
)


def _rules(colours: dict[str, str], states: dict[str, tuple[str, str]]) -> str:
    colour = colours.__getitem__
    rules = [
        f".entangle .page{{fill:{colour('page')}}}",
        f".entangle path{{stroke:{colour('line')}}}",
        f".entangle .tip{{fill:{colour('line')};stroke:none}}",
        f".entangle .box,.entangle .below{{fill:{colour('card')}}}",
        f".entangle .box,.entangle .below{{stroke:{colour('edge')}}}",
        f".entangle .helper .box,.entangle .run .box{{fill:{colour('soft')}}}",
        f".entangle text{{fill:{colour('text')}}}",
        f".entangle .note,.entangle .helper .label{{fill:{colour('note')}}}",
        f".entangle .times{{fill:{colour('accent')}}}",
        f".entangle .choice .box{{stroke:{colour('accent')}}}",
    ]
    for state, (strong, ground) in states.items():
        rules.append(
            f".entangle .{state} .box{{fill:{ground};stroke:{strong}}}"
            f".entangle .{state} .glyph{{fill:{strong}}}"
        )
    return "".join(rules)
