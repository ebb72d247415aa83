"""Calls in a few words, safe to show whatever their names and arguments are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle._clean import one_line
from entangle._graph import ops
from entangle._graph.callables import name_of, short
from entangle._graph.flow import Flow
from entangle._graph.frames import position
from entangle._graph.mapping import expand_map, expand_starmap
from entangle._graph.shown import shown
from entangle._graph.walk import edges_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from entangle._graph.node import Node

_NAME: Final = 40  # columns
_LABEL: Final = 48
_VALUE: Final = 24
_VALUES: Final = 8
_PLACE: Final = 28
_UNSAID: Final = frozenset({"process", "assemble", "dataflow"})
# Steps of our own between the calls of the user.
HELPERS: Final = frozenset(
    {
        *(ops.gather, ops.gather_tolerant, ops.same, ops.getitem, ops.call_or_item),
        *(ops.unpacked, expand_map, expand_starmap),
    }
)


def name_in(text: str) -> str:
    """Return a task's name, without where its function is defined."""
    return one_line(short(text), _NAME)


def line_of(item: Node[Any] | Flow) -> str:
    """Return the line that built something, with the name of the file alone."""
    code = item.code
    if isinstance(code, str):
        text = code
    else:
        text = f"{code.co_filename}:{position(code, item.lasti)[0]}"
    return one_line(text.rpartition("/")[2], _NAME)


def place_of(task: Any) -> str:
    """Return where a task's calls run, unless that is a plain process."""
    options = task.options
    place = options.executor
    if place is None:
        return "" if options.how in _UNSAID else str(options.how)
    return place if isinstance(place, str) else shown(place, _PLACE)


def label_of(item: Node[Any] | Flow) -> str:
    """Return a call as it may have been written, without what arrows say."""
    return one_line(_called(item, name_in(item.name)), _LABEL)


def _called(item: Node[Any] | Flow, name: str) -> str:
    if isinstance(item, Flow):
        return _with(name, _values((), item.constants or {}))
    task, args = item.task, item.args
    if task is ops.getitem:
        return f"[{shown(args[1], _VALUE)}]"
    if task is ops.unpacked:
        return f"unpack({args[1]})"
    if task is expand_map or task is expand_starmap:
        return f"map {short(name_of(args[0].fn))}"
    plain = [value for value in args if not edges_in(value)]
    if task is ops.gather or task is ops.gather_tolerant:
        plain = []
    kwargs = item.kwargs or {}
    named = {key: value for key, value in kwargs.items() if not edges_in(value)}
    return _with(name, _values(plain, named))


def _values(plain: Iterable[Any], named: dict[str, Any]) -> Iterator[str]:
    pairs = [*(("", value) for value in plain), *named.items()]
    for key, value in pairs[:_VALUES]:
        text = shown(value, _VALUE)
        yield f"{key}={text}" if key else text
    if len(pairs) > _VALUES:
        yield "…"


def _with(name: str, values: Iterable[str]) -> str:
    given = ", ".join(values)
    return f"{name}({given})" if given else name
