"""Graphs as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of, name_of, short
from entangle._graph.flow import Flow, topological
from entangle._graph.node import Node
from entangle._graph.walk import (
    EDGE_TYPES,
    edges,
    edges_in,
    inputs_first,
    substitute,
)

if TYPE_CHECKING:
    Graph = dict[str, list[Any]]


def graph_of_node(node: Node[Any]) -> Graph:
    """Show a pull graph; see `Node.graph`."""
    made: dict[Any, Any] = {}

    def shown(value: Any) -> Any:
        if kind_of(value) in EDGE_TYPES:
            return made[value]
        if edges_in(value):
            return substitute(value, made.__getitem__)
        return repr(value)

    for each in _inputs_first(node):
        if type(each) is not Node:
            made[each] = repr(each)
            continue
        arguments = [shown(value) for value in each.args]
        for name, value in (each.kwargs or {}).items():
            of_value = shown(value)
            plain = isinstance(of_value, str) and kind_of(value) not in EDGE_TYPES
            arguments.append(f"{name}={of_value}" if plain else {f"{name}=": of_value})
        if each.follows is not None:
            arguments.append({"after": [made[other] for other in each.follows]})
        made[each] = {short(each.name): arguments}
    graph: Graph = made[node]
    return graph


def graph_of_flow(flow: Flow) -> Graph:
    """Show a push graph; see `Flow.graph`."""
    made: dict[Any, Graph] = {}
    for each in topological(flow):
        fed: list[Any] = [
            made[child] if isinstance(child, Flow) else short(name_of(child))
            for child in each.children
        ]
        fed += [f"{name}={value!r}" for name, value in (each.constants or {}).items()]
        made[each] = {short(each.name): fed}
    return made[flow]


def _inputs_first(node: Node[Any]) -> list[Any]:
    """List a node and all it needs, each once, inputs before their consumers."""
    return inputs_first(node, lambda each: _edges(each) if type(each) is Node else ())


def _edges(node: Any) -> list[Any]:
    return edges(node)
