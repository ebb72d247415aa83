"""Which layer of a picture each box is in, so that arrows lead from one to a later."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Pair = tuple[int, int]


def forward(count: int, pairs: Sequence[Pair]) -> list[Pair]:
    """Turn around as many arrows as it takes to have no circle.

    Args:
        count: How many boxes there are.
        pairs: The arrows; none from a box to itself.

    Returns:
        The arrows in the same order, some of them the other way around.
    """
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in pairs:
        after[source].append(target)
    backward: set[Pair] = set()
    entered, done = [False] * count, [False] * count
    for start in range(count):
        if entered[start]:
            continue
        entered[start] = True
        stack = [(start, iter(after[start]))]
        while stack:
            box, targets = stack[-1]
            for target in targets:
                if not entered[target]:
                    entered[target] = True
                    stack.append((target, iter(after[target])))
                    break
                if not done[target]:
                    backward.add((box, target))
            else:
                done[box] = True
                stack.pop()
    return [pair[::-1] if pair in backward else pair for pair in pairs]


def layered(count: int, pairs: Sequence[Pair]) -> list[int]:
    """Put each box behind all that lead to it, and near to what it leads to.

    Args:
        count: How many boxes there are.
        pairs: The arrows, without a circle.

    Returns:
        The number of each box's layer, from 0 on.
    """
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in dict.fromkeys(pairs):
        after[source].append(target)
        before[target].append(source)
    missing = list(map(len, before))
    order = [box for box in range(count) if not missing[box]]
    layer = [0] * count
    for box in order:  # grows while it is walked
        for target in after[box]:
            layer[target] = max(layer[target], layer[box] + 1)
            missing[target] -= 1
            if not missing[target]:
                order.append(target)
    # The sum of the lengths of all arrows is what is to be small.
    for box in reversed(order):
        if len(after[box]) > len(before[box]):
            layer[box] = min(layer[target] for target in after[box]) - 1
    return layer
