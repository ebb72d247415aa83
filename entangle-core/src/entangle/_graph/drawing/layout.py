"""Where everything in a picture goes: a layered layout, the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .crossings import ordered
from .layers import forward, layered
from .spread import spread
from .tracks import tracks

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    Point = tuple[float, float]

_BESIDE: Final = 18.0  # between boxes of a layer
_LANE: Final = 12.0  # that a crossing arrow takes of a layer
_BETWEEN: Final = 44.0  # layers, at least
_MOST_BETWEEN: Final = 150.0
_SLOPE: Final = 0.16  # of what an arrow goes across, added between layers
_NEARLY: Final = 8.0  # so little off, an arrow between two boxes is straight
_SHAPE: Final = 1.6  # width by height that a picture should have


class Layout(NamedTuple):
    """Where things are, in pixels; y grows downwards.

    Attributes:
        width: Of the whole.
        height: Of the whole.
        across: Whether layers follow each other from left to right, else downwards.
        middles: Of the boxes.
        routes: For each arrow the pieces it is made of: two points each, between
            layers a curve, through a layer a line.
    """

    width: float
    height: float
    across: bool
    middles: list[Point]
    routes: list[list[tuple[Point, Point]]]


def laid_out(
    sizes: Sequence[Point], arrows: Sequence[tuple[int, int, Hashable]]
) -> Layout:
    """Lay boxes out in layers, so that nothing overlaps and arrows go round boxes.

    Args:
        sizes: Width and height of each box.
        arrows: From, to, and a kind: those of one source and kind share their way.
            None from a box to itself.
    """
    pairs = [(source, target) for source, target, _ in arrows]
    ahead = forward(len(sizes), pairs)
    layer = layered(len(sizes), ahead)
    directed = [
        (*pair, (kind, pair != given))
        for pair, given, (_, _, kind) in zip(ahead, pairs, arrows, strict=True)
    ]
    made = tracks(layer, directed)
    layers = ordered(made)
    across = _goes_across(sizes, layers)
    long, broad = ([w for w, _ in sizes], [h for _, h in sizes])
    if not across:
        long, broad = broad, long
    free = len(made.layer) - len(sizes)
    at = spread(layers, made, [b + _BESIDE for b in broad] + [_LANE] * free)
    starts, ends = _along(layers, made.after, long, at)
    whole = (
        max(ends, default=0.0),
        max(
            (at[box] + broad[box] / 2 + _BESIDE / 2 for box in range(len(sizes))),
            default=0.0,
        ),
    )
    turn = _straight if across else _turned
    middles = [
        turn(((starts[layer[box]] + ends[layer[box]]) / 2, at[box]))
        for box in range(len(sizes))
    ]
    routes: list[list[tuple[Point, Point]]] = []
    for route, pair, given in zip(made.routes, ahead, pairs, strict=True):
        points = _points(route, made.layer, at, starts, ends, long)
        pieces = [(turn(a), turn(b)) for a, b in points]
        if pair != given:
            pieces = [(b, a) for a, b in reversed(pieces)]
        routes.append(pieces)
    width, height = turn(whole)
    return Layout(width, height, across, middles, routes)


def _straight(point: Point) -> Point:
    return point


def _turned(point: Point) -> Point:
    return point[1], point[0]


def _goes_across(sizes: Sequence[Point], layers: list[list[int]]) -> bool:
    """Tell whether the picture has the better shape with layers side by side."""
    badness: list[float] = []
    for along, beside in ((0, 1), (1, 0)):
        boxes = [
            [sizes[place] for place in layer if place < len(sizes)] for layer in layers
        ]
        long = sum(max((s[along] for s in row), default=0) + _BETWEEN for row in boxes)
        broad = max((sum(s[beside] + _BESIDE for s in row) for row in boxes), default=0)
        width, height = (long, broad) if along == 0 else (broad, long)
        badness.append(max(width / _SHAPE, height))
    # Reading from left to right is what a page has room for.
    return badness[0] <= badness[1] * 1.25


def _along(
    layers: list[list[int]],
    after: Sequence[list[int]],
    long: Sequence[float],
    at: Sequence[float],
) -> tuple[list[float], list[float]]:
    """Find where layers begin and end; the steeper arrows are, the more is between."""
    starts: list[float] = []
    ends: list[float] = []
    edge = 0.0
    for layer in layers:
        starts.append(edge)
        edge += max((long[place] for place in layer if place < len(long)), default=0.0)
        ends.append(edge)
        steepest = max(
            (abs(at[place] - at[other]) for place in layer for other in after[place]),
            default=0.0,
        )
        edge += min(_BETWEEN + _SLOPE * steepest, _MOST_BETWEEN)
    return starts, ends


def _points(
    route: list[int],
    layer: Sequence[int],
    at: Sequence[float] | Mapping[int, float],
    starts: Sequence[float],
    ends: Sequence[float],
    long: Sequence[float],
) -> list[tuple[Point, Point]]:
    """Return the pieces of an arrow, the first coordinate along the layers."""
    pieces: list[tuple[Point, Point]] = []
    if len(route) == 2 and abs(at[route[0]] - at[route[1]]) < _NEARLY:  # noqa: PLR2004 - two boxes
        middle = (at[route[0]] + at[route[1]]) / 2
        at = dict.fromkeys(route, middle)
    for number, place in enumerate(route):
        where = layer[place]
        begin, end = starts[where], ends[where]
        if place < len(long):
            middle = (begin + end) / 2
            # Out of the box, or into it.
            begin, end = (
                (middle + long[place] / 2, end)
                if number == 0
                else (begin, middle - long[place] / 2)
            )
        if number:
            pieces.append((pieces[-1][1], (begin, at[place])))
        pieces.append(((begin, at[place]), (end, at[place])))
    return pieces
