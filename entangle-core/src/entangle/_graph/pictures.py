"""Graphs as plain data and as text to be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of, name_of
from entangle._graph.flow import Flow, topological
from entangle._graph.node import Node
from entangle._graph.values import brief
from entangle._graph.walk import (
    EDGE_TYPES,
    edges,
    edges_in,
    inputs_first,
    substitute,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def mermaid_of_node(node: Node[Any]) -> str:
    """Draw a pull graph: arrows lead from arguments to the calls that take them."""
    order = _inputs_first(node)
    numbers = {each: f"n{number}" for number, each in enumerate(order)}
    lines: list[str] = []
    for each in order:
        if type(each) is not Node:
            lines.append(_box(numbers[each], "a run under way"))
            continue
        values = [brief(v) for v in each.args if not edges_in(v)]
        constants = {k: v for k, v in (each.kwargs or {}).items() if not edges_in(v)}
        lines.append(_box(numbers[each], _label(each.name, values, constants)))
        after = set(each.follows or ())
        for other in _edges(each):
            arrow = "-.->" if other in after else "-->"
            lines.append(f"    {numbers[other]} {arrow} {numbers[each]}")
    return _chart(lines)


def mermaid_of_flow(flow: Flow) -> str:
    """Draw a push graph: arrows lead from functions to those that they feed."""
    order = topological(flow)[::-1]
    numbers = {each: f"n{number}" for number, each in enumerate(order)}
    lines: list[str] = []
    choosers = 0
    for each in order:
        number = numbers[each]
        lines.append(_box(number, _label(each.name, (), each.constants or {})))
        for child in each.children:
            if isinstance(child, Flow):
                lines.append(f"    {number} --> {numbers[child]}")
            else:
                # Each place where a function stands decides for itself.
                chooser = f"c{choosers}"
                choosers += 1
                text = _escaped(short(name_of(child)))
                lines.append(f'    {number} --> {chooser}{{"{text}"}}')
    return _chart(lines)


def short(name: str) -> str:
    """Shorten a qualified name by where the function is defined."""
    return name.rpartition("<locals>.")[2]


def _inputs_first(node: Node[Any]) -> list[Any]:
    """List a node and all it needs, each once, inputs before their consumers."""
    return inputs_first(node, lambda each: _edges(each) if type(each) is Node else ())


def _edges(node: Any) -> list[Any]:
    return edges(node)


def _label(name: str, values: Iterable[str], constants: dict[str, Any]) -> str:
    given = [*values, *(f"{key}={brief(value)}" for key, value in constants.items())]
    return f"{short(name)}({', '.join(given)})" if given else short(name)


def _box(number: str, text: str) -> str:
    return f'    {number}["{_escaped(text)}"]'


def _escaped(text: str) -> str:
    """Write what Mermaid would take for syntax as the entities that it knows."""
    text = text.replace("#", "#35;").replace('"', "#quot;")
    text = text.replace("<", "#lt;").replace(">", "#gt;")
    return " ".join(text.split())


def _chart(lines: list[str]) -> str:
    return "\n".join(["flowchart LR", *lines])
