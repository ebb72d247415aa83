"""In which order a layer's boxes stand, so that few arrows cross."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tracks import Tracks

SWEEPS: Final = 24
_SMALL: Final = 2_000  # places, up to which neighbours are tried the other way around


def ordered(made: Tracks) -> list[list[int]]:
    """Order the layers.

    What stands together in the order of the boxes' numbers, which is that of the
    program, stands together in the picture, as far as it costs no crossing.

    Returns:
        For each layer what is in it, in order.
    """
    layers: list[list[int]] = [[] for _ in range(max(made.layer, default=-1) + 1)]
    origin = list(range(made.boxes)) + [0] * (len(made.layer) - made.boxes)
    for route in made.routes:
        for place in route[1:-1]:
            origin[place] = route[0]
    for place in sorted(range(len(made.layer)), key=lambda each: (origin[each], each)):
        layers[made.layer[place]].append(place)
    # Now and then that is worse than no order at all, and no sweep finds out of it.
    starts = layers, [sorted(layer) for layer in layers]
    counts = [crossings(start, made.after) for start in starts]
    fewest = min(counts)
    best = starts[counts.index(fewest)]
    swept = [list(layer) for layer in layers]
    idle = 0
    for sweep in range(SWEEPS):
        if not fewest or idle > 4:  # noqa: PLR2004 - more seldom help
            break
        _sweep(swept, made, down=sweep % 2 == 0)
        if len(made.layer) <= _SMALL:
            _exchange(swept, made)
        count = crossings(swept, made.after)
        idle += 1
        if count < fewest:
            best, fewest, idle = [list(layer) for layer in swept], count, 0
    return best


def crossings(layers: list[list[int]], after: Sequence[list[int]]) -> int:
    """Count how often arrows cross between neighbouring layers."""
    count = 0
    for upper, lower in pairwise(layers):
        index = {place: number for number, place in enumerate(lower)}
        ends = [
            end
            for place in upper
            for end in sorted([index[target] for target in after[place]])
        ]
        seen: list[int] = []
        for end in ends:
            where = bisect_right(seen, end)
            count += len(seen) - where
            seen.insert(where, end)
    return count


def _sweep(layers: list[list[int]], made: Tracks, *, down: bool) -> None:
    """Order each layer by where its neighbours in the one before it stand."""
    neighbours = made.before if down else made.after
    numbers = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
    for number in numbers:
        fixed = layers[number - 1 if down else number + 1]
        index = {place: float(at) for at, place in enumerate(fixed)}
        layer = layers[number]
        wish: dict[int, float] = {}
        # Without a neighbour, where it is: as far along as it was.
        scale = len(fixed) / len(layer)
        for at, place in enumerate(layer):
            near = [index[other] for other in neighbours[place]]
            wish[place] = sum(near) / len(near) if near else at * scale
        layer.sort(key=wish.__getitem__)


def _exchange(layers: list[list[int]], made: Tracks) -> None:
    """Exchange neighbours where that costs fewer crossings."""
    for number, layer in enumerate(layers):
        sides: list[tuple[Sequence[list[int]], dict[int, int]]] = []
        for other, neighbours in ((number - 1, made.before), (number + 1, made.after)):
            if 0 <= other < len(layers):
                where = {place: at for at, place in enumerate(layers[other])}
                sides.append((neighbours, where))
        ends = {
            place: [
                sorted([where[other] for other in neighbours[place]])
                for neighbours, where in sides
            ]
            for place in layer
        }
        better = True
        for _ in range(len(layer)):
            if not better:
                break
            better = False
            for at in range(len(layer) - 1):
                left, right = layer[at], layer[at + 1]
                if _gain(ends[left], ends[right]) > 0:
                    layer[at], layer[at + 1] = right, left
                    better = True


def _gain(left: list[list[int]], right: list[list[int]]) -> int:
    """Return how many crossings fewer there are if two exchange their places."""
    gain = 0
    for mine, theirs in zip(left, right, strict=True):
        for end in mine:
            for other in theirs:
                gain += (end > other) - (end < other)
    return gain
