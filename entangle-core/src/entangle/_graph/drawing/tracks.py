"""The layers of a picture, with room for the arrows that cross them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Tracks(NamedTuple):
    """Boxes in layers. Where an arrow crosses a layer there is a place kept free.

    Attributes:
        layer: Of each box, and after these of each free place.
        before: For each of them, what leads to it from the layer before, with repeats.
        after: For each of them, to what it leads in the layer after, with repeats.
        routes: For each arrow what it passes, its two boxes included.
        boxes: How many of them are boxes.
    """

    layer: list[int]
    before: list[list[int]]
    after: list[list[int]]
    routes: list[list[int]]
    boxes: int


def tracks(layer: Sequence[int], arrows: Sequence[tuple[int, int, Hashable]]) -> Tracks:
    """Keep places free for arrows; those of one source share them for as long.

    Args:
        layer: Of each box.
        arrows: From, to a later layer, and a kind: only equal kinds share.
    """
    made = Tracks(list(layer), [[] for _ in layer], [[] for _ in layer], [], len(layer))
    shared: dict[tuple[int, int, Hashable], int] = {}
    for source, target, kind in arrows:
        route = [source]
        for crossed in range(layer[source] + 1, layer[target]):
            key = source, crossed, kind
            place = shared.get(key)
            if place is None:
                place = shared[key] = len(made.layer)
                made.layer.append(crossed)
                made.before.append([])
                made.after.append([])
                _lead(made, route[-1], place)
            route.append(place)
        _lead(made, route[-1], target)
        route.append(target)
        made.routes.append(route)
    return made


def _lead(made: Tracks, source: int, target: int) -> None:
    made.after[source].append(target)
    made.before[target].append(source)
