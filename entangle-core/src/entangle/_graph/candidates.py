"""Which flows a function may choose, as far as can be seen without asking it."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of
from entangle._graph.flow import Flow, topological

if TYPE_CHECKING:
    from collections.abc import Iterator


def not_taken(choose: Any, chosen: list[Flow]) -> list[Flow]:
    """List the nodes of flows that a function refers to and has not chosen.

    Flows that it builds when it is called can't be seen.

    Args:
        choose: The function.
        chosen: What it has chosen.
    """
    taken = {node for flow in chosen for node in topological(flow)}
    found: dict[Flow, None] = {}
    for value in _referred_to(choose):
        for flow in _flows(value):
            found.update(dict.fromkeys(reversed(topological(flow))))
    return [node for node in found if node not in taken]


def _referred_to(choose: Any) -> Iterator[Any]:
    """Yield the values that the code of a function can name."""
    while isinstance(choose, partial):
        yield from chain(choose.args, choose.keywords.values())
        choose = choose.func
    code = getattr(choose, "__code__", None)
    if code is None:
        return
    for cell in choose.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            pass  # not assigned yet
    yield from choose.__defaults__ or ()
    yield from (choose.__kwdefaults__ or {}).values()
    names = choose.__globals__
    yield from (names[name] for name in code.co_names if name in names)


def _flows(value: Any) -> list[Flow]:
    """List the flows that a value is or holds."""
    if isinstance(value, Flow):
        return [value]
    kind = kind_of(value)
    if kind is dict:
        value = list(value.values())
    elif kind is not list and kind is not tuple:
        return []
    return [each for each in value if isinstance(each, Flow)]
