"""A random layered graph, with the counter that drives a plain pool through it."""

import random
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from .work import add

PARENTS = 3


class Layered(NamedTuple):
    """Nodes numbered from 0, layer by layer.

    Attributes:
        width: how many nodes a layer has.
        parents: for each node its three parents; the first layer's are None.
    """

    width: int
    parents: list[tuple[int, int, int] | None]


def layered(layers: int, width: int, seed: int = 1) -> Layered:
    """Make a graph in which each node has three random parents one layer above."""
    rng = random.Random(seed)
    parents: list[tuple[int, int, int] | None] = [None] * width
    for layer in range(1, layers):
        above = range((layer - 1) * width, layer * width)
        for _ in range(width):
            a, b, c = rng.choices(above, k=PARENTS)
            parents.append((a, b, c))
    return Layered(width, parents)


def expected(graph: Layered) -> list[int]:
    """Return the values of the last layer, computed plainly."""
    values: list[int] = []
    for node, parents in enumerate(graph.parents):
        values.append(add(*arguments(node, parents, values)))
    return values[-graph.width :]


def arguments(
    node: int, parents: tuple[int, int, int] | None, values: list[int]
) -> tuple[int, int, int]:
    """Return what a node's call gets: its parents' values, its number at the top."""
    if parents is None:
        return node, 0, 0
    a, b, c = parents
    return values[a], values[b], values[c]


Report = Callable[[int, int], None]


def drive(
    graph: Layered, submit: Callable[[tuple[int, int, int], int, Report], None]
) -> list[int]:
    """Run a graph on a pool that knows no dependencies; return the last layer.

    Args:
        graph: what to run.
        submit: starts `add` with arguments and calls the report with the node's number
            and its value when it is there, from any thread.
    """
    count = len(graph.parents)
    missing = [len(set(parents or ())) for parents in graph.parents]
    users: list[list[int]] = [[] for _ in range(count)]
    for node, parents in enumerate(graph.parents):
        for parent in set(parents or ()):
            users[parent].append(node)
    values: list[int] = [0] * count
    landed: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def report(node: int, value: int) -> None:
        landed.put((node, value))

    ready = deque(node for node in range(count) if not missing[node])
    for _ in range(count):
        while ready:
            node = ready.popleft()
            submit(arguments(node, graph.parents[node], values), node, report)
        node, values[node] = landed.get()
        for user in users[node]:
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    return values[-graph.width :]
