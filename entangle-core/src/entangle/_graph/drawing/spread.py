"""How far from each other a layer's boxes stand, so that arrows are straight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tracks import Tracks

SWEEPS: Final = 12
# How much it counts that an arrow is straight: most of all where it is long.
_PULLS: Final = (1.0, 2.0, 8.0)  # by how many of its ends are no boxes


def spread(
    layers: list[list[int]], made: Tracks, breadth: Sequence[float]
) -> list[float]:
    """Find the middle of each place across the layers.

    Args:
        layers: What is in each layer, in order.
        made: What leads where.
        breadth: How much room each place takes, with the gap to the next.

    Returns:
        The middles; the least of them leaves room for half a breadth beside 0.
    """
    at = [0.0] * len(breadth)
    offsets: list[list[float]] = []
    for layer in layers:
        offset, edge = [], 0.0
        for place in layer:
            offset.append(edge + breadth[place] / 2)
            edge += breadth[place]
        offsets.append(offset)
        for place, where in zip(layer, offset, strict=True):
            at[place] = where - edge / 2
    for sweep in range(SWEEPS):
        numbers = range(len(layers))
        for number in numbers if sweep % 2 == 0 else reversed(numbers):
            # At last both sides count.
            last = sweep >= SWEEPS - 2
            before = last or sweep % 2 == 0
            after = last or sweep % 2 == 1
            _settle(layers[number], offsets[number], made, at, (before, after))
    least = min(
        (at[layer[0]] - breadth[layer[0]] / 2 for layer in layers if layer), default=0.0
    )
    return [where - least for where in at]


def _settle(
    layer: list[int],
    offset: list[float],
    made: Tracks,
    at: list[float],
    sides: tuple[bool, bool],
) -> None:
    """Move a layer's places to where they want to be, as near as there is room.

    The one way of doing so whose squared distances, weighted, are least: places that
    want to overlap move as one.
    """
    blocks: list[tuple[float, float, int]] = []  # where, weight, how many
    for place, shift in zip(layer, offset, strict=True):
        wish, weight = _wish(place, made, at, sides)
        block = wish - shift, weight, 1
        while blocks and blocks[-1][0] > block[0]:
            where, heavy, many = blocks.pop()
            weight = heavy + block[1]
            middle = (where * heavy + block[0] * block[1]) / weight
            block = middle, weight, many + block[2]
        blocks.append(block)
    index = 0
    for where, _, many in blocks:
        for place in layer[index : index + many]:
            at[place] = where + offset[index]
            index += 1


def _wish(
    place: int, made: Tracks, at: list[float], sides: tuple[bool, bool]
) -> tuple[float, float]:
    total = weight = 0.0
    boxes = made.boxes
    for wanted, neighbours in zip(sides, (made.before, made.after), strict=True):
        if not wanted:
            continue
        for other in neighbours[place]:
            free = (place >= boxes) + (other >= boxes)
            pull = _PULLS[free]
            total += pull * at[other]
            weight += pull
    # What has no neighbour on this side stays where it is, but gives way.
    return (total / weight, weight) if weight else (at[place], 0.05)
