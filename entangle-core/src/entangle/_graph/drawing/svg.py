"""Graphs as SVG: a picture that needs nothing but a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from entangle._clean import columns, cut
from entangle.errors import PictureError

from .layout import laid_out
from .sketch import times
from .states import LOOKS, in_words
from .style import FONT, style

if TYPE_CHECKING:
    from .layout import Layout, Point
    from .sketch import Arrow, Card, Sketch
    from .states import State

MOST: Final = 1_500  # cards; more can't be seen, and take long

_LETTER: Final = 7.25  # pixels that a column of the label takes
_SMALL: Final = 6.05  # and one of the line below it
_HEIGHT: Final = 44.0
_LOW: Final = 28.0
_SIDE: Final = 13.0  # beside the text
_GLYPH: Final = 19.0  # for the glyph of a state
_BADGE: Final = 9.0
_LOOP: Final = 16.0
_MARGIN: Final = 16.0
_LEGEND: Final = 24.0
_HAIR: Final = 0.3
_ALIKE: Final = 1.25  # widths of one task's cards that differ less become one
_WIDEST: Final = 30  # columns of a label in a card; the rest is in its title


_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" class="entangle" role="img" '
    'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
    'style="max-width:100%;height:auto" font-family="{font}">'
)
_DEFS: Final = (
    '<defs><marker id="entangle-tip" viewBox="0 0 8 8" refX="7" refY="4" '
    'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
    '<path class="tip" d="M0 .6 7.4 4 0 7.4z"/></marker></defs>'
)
_TIP: Final = 'marker-end="url(#entangle-tip)"'


def drawn(sketch: Sketch) -> str:
    """Draw a graph as an SVG document.

    Raises:
        PictureError: there are too many cards.
    """
    if len(sketch.cards) > MOST:
        raise PictureError(
            "SVG", what="cards", count=len(sketch.cards), most=MOST, calls=sketch.calls
        )
    loops = {arrow.source for arrow in sketch.arrows if arrow.source == arrow.target}
    sizes = _evened(
        sketch.cards,
        [_size(card, number in loops) for number, card in enumerate(sketch.cards)],
    )
    arrows = [arrow for arrow in sketch.arrows if arrow.source != arrow.target]
    layout = laid_out(sizes, [(a.source, a.target, a.kind) for a in arrows])
    legend = in_words(sketch.states)
    calls = "1 call" if sketch.calls == 1 else f"{sketch.calls:,} calls"
    if sketch.calls > len(sketch.cards):
        legend = ", ".join(filter(None, (calls, legend)))
    width = max(layout.width, columns(legend) * _SMALL) + 2 * _MARGIN
    height = layout.height + 2 * _MARGIN + (_LEGEND if legend else 0)
    lines = [
        _HEAD.format(width=width, height=height, font=FONT),
        f"<title>{escape(sketch.title)}</title>",
        f"<desc>{escape(_described(sketch, calls))}</desc>",
        f"<style>{style()}</style>",
        _DEFS,
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="10"/>',
    ]
    for arrow, route in zip(arrows, layout.routes, strict=True):
        lines.append(_arrow(arrow, route, layout))
    for number, (card, size) in enumerate(zip(sketch.cards, sizes, strict=True)):
        lines.append(_card(card, layout.middles[number], size, looped=number in loops))
    if legend:
        y = height - _MARGIN + 3
        lines.append(f'<text class="note" x="{_MARGIN}" y="{y:.0f}">{legend}</text>')
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _described(sketch: Sketch, calls: str) -> str:
    """Say in words what the picture shows, for who does not see it."""
    parts = [f"Graph of {calls}"]
    parts += [in_words(sketch.states)] * bool(sketch.states)
    names = [card.title for card in sketch.cards]
    if len(names) <= 40:  # noqa: PLR2004 - more is no description
        of: dict[int, list[str]] = {}
        for arrow in sketch.arrows:
            of.setdefault(arrow.target, []).append(names[arrow.source])
        parts += [
            f"{name} after {' and '.join(of[number])}" if number in of else name
            for number, name in enumerate(names)
        ]
    return "; ".join(parts) + "."


def _detail(card: Card) -> str:
    if len(card.states) > 1 or (card.states and sum(card.states.values()) < card.count):
        return " ".join(
            f"{LOOKS[state].glyph}\u2009{count:,}"
            for state, count in card.states.items()
        )
    return card.place_in_words


def _size(card: Card, looped: bool) -> Point:  # noqa: FBT001 - of what is beside it
    label = cut(card.label, _WIDEST)
    low = card.kind in {"helper", "run"} and not _detail(card)
    text = max(columns(label) * _LETTER, columns(_detail(card)) * _SMALL)
    width = text + 2 * _SIDE + (_GLYPH if card.states else 0)
    if card.count > 1:
        width += columns(times(card.count)) * _LETTER + _BADGE
    if card.kind == "choice":
        width += 22
    return width, (_LOW if low else _HEIGHT) + (2 * _LOOP if looped else 0)


def _evened(cards: list[Card], sizes: list[Point]) -> list[Point]:
    """Make cards of one task as wide as each other, where little is missing."""
    widest: dict[str, float] = {}
    for card, (width, _) in zip(cards, sizes, strict=True):
        widest[card.name] = max(width, widest.get(card.name, 0.0))
    return [
        (widest[card.name] if widest[card.name] < _ALIKE * width else width, height)
        for card, (width, height) in zip(cards, sizes, strict=True)
    ]


def _arrow(arrow: Arrow, route: list[tuple[Point, Point]], layout: Layout) -> str:
    x, y = route[0][0]
    path = [f"M{x + _MARGIN:.1f} {y + _MARGIN:.1f}"]
    for (x0, y0), (x1, y1) in route:
        end = f"{x1 + _MARGIN:.1f} {y1 + _MARGIN:.1f}"
        beside, below = abs(x1 - x0) < _HAIR, abs(y1 - y0) < _HAIR
        if beside and below:
            continue  # its direction would be the tip's
        if beside or below:
            path.append(f"L{end}")
        elif layout.across:
            middle = (x0 + x1) / 2 + _MARGIN
            path.append(
                f"C{middle:.1f} {y0 + _MARGIN:.1f} {middle:.1f} {y1 + _MARGIN:.1f} {end}"
            )
        else:
            middle = (y0 + y1) / 2 + _MARGIN
            path.append(
                f"C{x0 + _MARGIN:.1f} {middle:.1f} {x1 + _MARGIN:.1f} {middle:.1f} {end}"
            )
    many = " many" if arrow.count > 1 else ""
    return f'<path class="{arrow.kind}{many}" d="{"".join(path)}" {_TIP}/>'


def _card(card: Card, middle: Point, size: Point, *, looped: bool) -> str:
    width, height = size
    height -= 2 * _LOOP if looped else 0
    x, y = middle[0] - width / 2 + _MARGIN, middle[1] - height / 2 + _MARGIN
    state = card.state
    classes = " ".join(filter(None, ("card", card.kind, state)))
    title = ", ".join(
        filter(None, (card.title, card.where, card.place, in_words(card.states)))
    )
    parts = [
        f'<g class="{classes}" transform="translate({x:.1f} {y:.1f})">',
        f"<title>{escape(title)}</title>",
    ]
    if card.count > 1:
        # More cards lie below.
        parts.append(
            f'<rect class="below" x="4" y="4" width="{width:.1f}" '
            f'height="{height:.1f}" rx="7"/>'
        )
    if card.kind == "choice":
        parts.append(f'<path class="box" d="{_hexagon(width, height)}"/>')
    else:
        round_by = height / 2 if card.kind in {"helper", "run"} else 7
        parts.append(
            f'<rect class="box" width="{width:.1f}" height="{height:.1f}" '
            f'rx="{round_by:.1f}"/>'
        )
    if looped:
        right = width - 14
        parts.append(
            f'<path class="value" d="M{right:.1f} 0C{right + 8:.1f} -20 '
            f'{right - 34:.1f} -20 {right - 26:.1f} -1" {_TIP}/>'
        )
    parts += _texts(card, state, width, height)
    parts.append("</g>")
    return "".join(parts)


def _texts(card: Card, state: State | None, width: float, height: float) -> list[str]:
    left = _SIDE + (11 if card.kind == "choice" else 0)
    detail = _detail(card)
    middle = height / 2
    parts: list[str] = []
    if state is not None:
        parts.append(
            f'<text class="glyph" x="{left:.1f}" y="{middle + 5:.1f}">'
            f"{LOOKS[state].glyph}</text>"
        )
        left += _GLYPH
    y = middle - 2 if detail else middle + 4
    label = escape(cut(card.label, _WIDEST))
    parts.append(f'<text class="label" x="{left:.1f}" y="{y:.1f}">{label}</text>')
    if detail:
        parts.append(
            f'<text class="note" x="{left:.1f}" y="{middle + 13:.1f}">'
            f"{escape(detail)}</text>"
        )
    if card.count > 1:
        parts.append(
            f'<text class="times" x="{width - _SIDE:.1f}" y="{middle + 4:.1f}">'
            f"{times(card.count)}</text>"
        )
    return parts


def _hexagon(width: float, height: float) -> str:
    left, right, middle = 12.0, width - 12, height / 2
    return (
        f"M{left:.1f} 0H{right:.1f}L{width:.1f} {middle:.1f} {right:.1f} {height:.1f}"
        f"H{left:.1f}L0 {middle:.1f}z"
    )
