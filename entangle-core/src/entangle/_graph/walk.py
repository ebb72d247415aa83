"""Finding and replacing the edges inside of values.

An edge is an object whose exact type is in `EDGE_TYPES`: a node, or a run that is
already under way. Edges are found among arguments and, at any depth, in lists,
tuples, dicts and sets of exactly these types; anything else is a plain value.
Nothing here recurses, and a list that contains itself is walked once.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.callables import kind_of
from entangle._worker.codec import ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from entangle._graph.node import Node

# Filled by the modules that define the types: `node`, and the run layer.
EDGE_TYPES: Final[set[type[object]]] = set()

_CONTAINERS: Final[frozenset[type[object]]] = frozenset({list, tuple, dict, set})


def edges(node: Node[Any]) -> list[Any]:
    """List the edges of a node: its inputs, in order of appearance, each once.

    Args:
        node: The node whose arguments, keyword arguments and ``follows`` are walked.
    """
    found: list[Any] = []
    args = node.args
    if node.kwargs is None and node.follows is None:
        # As it mostly is: plain values alone, or edges alone.
        kinds = set(map(kind_of, args))
        if kinds <= ATOMS:
            return found
        if kinds <= EDGE_TYPES:
            return list(dict.fromkeys(args))
    for value in args:
        kind = kind_of(value)
        if kind in EDGE_TYPES:
            found.append(value)
        elif kind in _CONTAINERS:
            found.extend(edges_in(value))
    if node.kwargs is not None:
        found.extend(edges_in(node.kwargs))
    if node.follows is not None:
        found.extend(node.follows)
    if len(found) > 1:
        # Nodes and futures hash by identity.
        return list(dict.fromkeys(found))
    return found


def edges_in(value: Any, types: Container[type[object]] = EDGE_TYPES) -> list[Any]:
    """List the edges that a value is or contains, in order of appearance, each once.

    Args:
        value: Anything.
        types: The exact types that count as edges.
    """
    kind = kind_of(value)
    if kind in types:
        return [value]
    if kind not in _CONTAINERS or not value:
        return []
    if kind is not dict:
        # One pass in C settles flat containers, however long.
        kinds = set(map(kind_of, value))
        if kinds.isdisjoint(_CONTAINERS):
            wanted = [each for each in kinds if each in types]
            if not wanted:
                return []
            if len(kinds) == 1:
                return list(dict.fromkeys(value))
            return list(
                dict.fromkeys(each for each in value if kind_of(each) in wanted)
            )
    return list(dict.fromkeys(_walk(value, types)))


def _walk(value: Any, types: Container[type[object]]) -> Iterable[Any]:
    """Yield the edges in a container, depth first, perhaps more than once."""
    seen = {id(value)}
    stack = [iter(_items(value))]
    while stack:
        for each in stack[-1]:
            kind = kind_of(each)
            if kind in types:
                yield each
            elif kind in _CONTAINERS and each and id(each) not in seen:
                seen.add(id(each))
                stack.append(iter(_items(each)))
                break
        else:
            stack.pop()


def _items(container: Any) -> Iterable[Any]:
    """Iterate over what a container holds; of a dict, keys and values in turn."""
    kind = kind_of(container)
    items: Iterable[Any] = container
    return chain.from_iterable(container.items()) if kind is dict else items


def substitute(
    value: Any,
    lookup: Callable[[Any], Any],
    types: Container[type[object]] = EDGE_TYPES,
) -> Any:
    """Replace every edge in a value.

    What is shared or contains itself in `value` does so in the result.

    Args:
        value: Anything.
        lookup: Gives the value of an edge. Called once for each appearance.
        types: The exact types that count as edges.

    Returns:
        The value with edges replaced; containers without edges are not copied.

    Raises:
        TypeError: If an edge is in a set or the key of a dict, and its value cannot
            be hashed.
    """
    kind = kind_of(value)
    if kind in types:
        return lookup(value)
    if kind not in _CONTAINERS or not value:
        return value
    if kind is list or kind is tuple:
        kinds = set(map(kind_of, value))
        if kinds.isdisjoint(_CONTAINERS):
            if not any(each in types for each in kinds):
                return value
            replaced = [
                lookup(each) if kind_of(each) in types else each for each in value
            ]
            return replaced if kind is list else tuple(replaced)
    return _rebuild(value, lookup, types)


def _rebuild(
    value: Any, lookup: Callable[[Any], Any], types: Container[type[object]]
) -> Any:
    """Replace the edges in nested containers."""
    tuples, others = _affected(value, types)
    # Lists, dicts and sets exist empty first, so that cycles through them close.
    made: dict[int, Any] = {
        identity: kind_of(container)() for identity, container in others.items()
    }

    def replace(each: Any) -> Any:
        if kind_of(each) in types:
            return lookup(each)
        return made.get(id(each), each)

    # Tuples are made of what exists, innermost first: they form no cycle alone.
    stack = list(tuples.values())
    while stack:
        outer = stack[-1]
        if id(outer) in made:
            stack.pop()
            continue
        inner = [each for each in outer if id(each) in tuples and id(each) not in made]
        if inner:
            stack.extend(inner)
        else:
            made[id(outer)] = tuple(map(replace, outer))
    for identity, container in others.items():
        _fill(made[identity], container, replace)
    return replace(value)


def _affected(
    value: Any, types: Container[type[object]]
) -> tuple[dict[int, Any], dict[int, Any]]:
    """Find the containers in a value that contain an edge, at any depth.

    Returns:
        The tuples among them and the others, each by identity.
    """
    containers: dict[int, Any] = {id(value): value}
    parents: dict[int, list[int]] = {id(value): []}
    pending: list[int] = []
    stack = [(value, iter(_items(value)))]
    while stack:
        container, items = stack[-1]
        for each in items:
            kind = kind_of(each)
            if kind in types:
                pending.append(id(container))
            elif kind in _CONTAINERS and each:
                known = parents.get(id(each))
                if known is None:
                    containers[id(each)] = each
                    parents[id(each)] = [id(container)]
                    stack.append((each, iter(_items(each))))
                    break
                known.append(id(container))
        else:
            stack.pop()
    tuples: dict[int, Any] = {}
    others: dict[int, Any] = {}
    while pending:
        identity = pending.pop()
        container = containers[identity]
        kind = kind_of(container)
        group = tuples if kind is tuple else others
        if identity not in group:
            group[identity] = container
            pending.extend(parents[identity])
    return tuples, others


def _fill(new: Any, old: Any, replace: Callable[[Any], Any]) -> None:
    """Fill an empty list, dict or set with the replaced content of another."""
    kind = kind_of(old)
    if kind is dict:
        new.update((replace(key), replace(each)) for key, each in old.items())
    elif kind is list:
        new.extend(map(replace, old))
    else:
        new.update(map(replace, old))


def inputs_first(root: Any, inputs: Callable[[Any], Iterable[Any]]) -> list[Any]:
    """List something and all that it needs, each once, inputs before their consumers.

    Args:
        root: Where to begin.
        inputs: Returns what something needs, in the order written.
    """
    order: list[Any] = []
    entered: set[Any] = set()
    done: set[Any] = set()
    stack = [root]
    while stack:
        each = stack[-1]
        if each in entered:
            stack.pop()
            if each not in done:
                done.add(each)
                order.append(each)
            continue
        entered.add(each)
        stack.extend([e for e in reversed([*inputs(each)]) if e not in entered])
    return order
