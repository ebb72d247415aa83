"""Whether two flows have the same structure."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of
from entangle._graph.flow import Flow, topological

if TYPE_CHECKING:
    from entangle._graph.task import Task


def alike(one: Flow, other: Flow) -> bool:
    """Compare two flows, node by node, without recursion."""
    ones, others = topological(one), topological(other)
    if len(ones) != len(others):
        return False
    # Both lists are in the order of one and the same walk.
    numbers = {flow: number for number, flow in enumerate(ones)}
    numbers_of_others = {flow: number for number, flow in enumerate(others)}
    for a, b in zip(ones, others, strict=True):
        if len(a.children) != len(b.children) or not _same_call(a, b):
            return False
        for child, twin in zip(a.children, b.children, strict=True):
            if isinstance(child, Flow) and isinstance(twin, Flow):
                if numbers[child] != numbers_of_others[twin]:
                    return False
            elif (
                isinstance(child, Flow)
                or isinstance(twin, Flow)
                or not _same_function(child, twin)
            ):
                return False
    return True


def _same_call(a: Flow, b: Flow) -> bool:
    return _same_task(a.task, b.task) and _equal(
        (a.first, a.constants), (b.first, b.constants)
    )


def _same_task(a: Task[..., Any], b: Task[..., Any]) -> bool:
    if a is b:
        return True
    return _same_function(a.fn, b.fn) and [
        (facet.key, facet.value) for facet in a.spec.facets if facet.key != "callback"
    ] == [
        (facet.key, facet.value) for facet in b.spec.facets if facet.key != "callback"
    ]


def _same_function(a: Any, b: Any) -> bool:
    """Compare functions of which one may be a copy that has travelled."""
    if a is b:
        return True
    code = getattr(a, "__code__", None)
    if code is None:
        return kind_of(a) is kind_of(b) and _equal(a, b)
    return bool(code == getattr(b, "__code__", None)) and _names(a) == _names(b)


def _names(function: Any) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _equal(a: Any, b: Any) -> bool:
    """Compare values; arrays and their like, which tell of each item, as they pickle."""
    try:
        return bool(a == b)
    except Exception:  # noqa: BLE001 - whatever the user's class does there
        try:
            return pickle.dumps(a) == pickle.dumps(b)
        except Exception:  # noqa: BLE001 - as above
            return False
