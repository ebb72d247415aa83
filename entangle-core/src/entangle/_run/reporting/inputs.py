"""What a call that has failed was called with."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from entangle._clean import columns, cut
from entangle._graph.drawing.labels import label_of
from entangle._graph.shown import guarded, shown
from entangle._graph.walk import edges_in, substitute
from entangle._run.failed import MOST
from entangle._worker import codec
from entangle._worker.attach import Parcel

from .rows import name_of
from .source import short

if TYPE_CHECKING:
    from entangle._graph.node import Node
    from entangle._run.failed import Failed

_SOURCES: Final = 4
_SENT: Final = frozenset((Parcel,))


def inputs_of(found: Failed) -> list[str]:
    """Show what a call was given, and where each value came from."""
    node = found.node
    if node.task.options.how == "assemble":
        return []
    known = found.args is not None
    delivered = found.args or ()
    count = max(len(node.args), found.count)
    # A flow's values are in no node: they are what was delivered.
    written = (*node.args[:MOST], *delivered[len(node.args) :])
    names = _names(node, len(written))
    given = (
        list(zip_longest(written, delivered)) if known else [(w, w) for w in written]
    )
    values = found.kwargs or {}
    named = node.kwargs or {}
    for name in list(named)[: MOST - len(given)]:
        names.append(name)
        given.append((named[name], values.get(name, named[name])))
    rows = [
        (cut(name, 24), *_value(written, value, known=known))
        for name, (written, value) in zip(names, given, strict=True)
    ]
    wide = max((columns(f"{name} = {text}") for name, text, _ in rows), default=0)
    lines: list[str] = []
    for name, text, source in rows:
        line = f"{name} = {text}"
        gap = " " * (min(wide, 56) - columns(line) + 3)
        lines.append(f"{line}{gap if source else ''}{source}")
    left = count + len(named) - len(given)
    if left > 0:
        lines.append(f"… and {left:,} more arguments")
    return lines


def _value(written: Any, value: Any, *, known: bool) -> tuple[str, str]:
    """Show an argument, and where it came from."""
    sources = edges_in(written)
    if not sources and (written is not value or not known):
        # Of what was sent, there may be nothing but words.
        return shown(written, 52), ""
    text = _origin(sources) if sources else ""
    if not known:
        return "…", text
    decoded: list[Any] = []

    def decode() -> str:
        decoded.append(substitute(value, codec.decode, _SENT))
        return ""

    guarded(decode)  # its class may do anything then
    return (shown(decoded[0], 52) if decoded else "…"), text


def _origin(sources: list[Any]) -> str:
    """Say which calls a value was made by."""
    if len(sources) > 1:
        names = dict.fromkeys(map(_call, sources[:_SOURCES]))
        return f"from {', '.join(names)} … {len(sources):,} calls"
    (source,) = sources
    if not hasattr(source, "task"):
        return f"from {_call(source)}"
    label = label_of(source)
    label = label if label.endswith(")") else _call(source)
    return f"from {label}   {short(source.where)}"


def _call(source: Any) -> str:
    return f"{name_of(source)}()" if hasattr(source, "task") else "a run under way"


def _names(node: Node[Any], count: int) -> list[str]:
    """Return the parameters that the positional arguments go to."""
    # Imported here: it takes longer than the rest.
    import inspect

    try:
        parameters = list(inspect.signature(node.task.fn).parameters.values())
    except Exception:
        parameters = []  # it says nothing, or what can't be read
    kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    names = [each.name for each in parameters if each.kind in kinds][:count]
    rest = [each.name for each in parameters if each.kind is each.VAR_POSITIONAL]
    left = count - len(names)
    if rest:
        return [*names, *(f"{rest[0]}[{number}]" for number in range(left))]
    return [*names, *(f"argument {len(names) + n + 1}" for n in range(left))]
