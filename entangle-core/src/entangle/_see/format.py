"""A run's log as text: a line of JSON for each event, and back again.

The first line says what the file is. Times in the others are whole microseconds since
the run's begin. A line that is cut off, or damaged otherwise, is passed over: all others
can be read without it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from entangle._graph.callables import kind_of
from entangle._graph.node import Node
from entangle._graph.program import is_choice
from entangle._run.telling import Shown, Teller, described
from entangle._seam.events import (
    EVENTS_VERSION,
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeRetried,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle._worker.preview import preview

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle._seam.events import Event

    Fields = dict[str, Any]

FORMAT: Final = 1
"""The version of the format: it grows when older readers would misunderstand."""

_TOGETHER: Final = 64  # nodes whose ends share a line
_INT: Final = frozenset((int,))
_MOST_ALIKE: Final = 10_000_000  # nodes of one line; more is no line of ours


_NAMES: Final[dict[type, str]] = {
    NodeAdded: "added",
    NodeStarted: "started",
    NodeOutput: "output",
    NodeEnded: "ended",
    NodeRetried: "retried",
    NodeSpan: "span",
    RunEnded: "over",
}
_KINDS: Final[dict[str, Any]] = {name: kind for kind, name in _NAMES.items()}
_TIMES: Final = ("time", "queued", "started")
_EMPTY: Final[tuple[object, ...]] = (0, "", False, ())
# What the fields of a line must be.
_TYPES: Final[dict[str, type]] = {
    "time": int,
    "node": int,
    "count": int,
    "name": str,
    "inputs": list,
    "where": str,
    "place": str,
    "parent": int,
    "attempt": int,
    "pid": int,
    "stream": str,
    "text": str,
    "outcome": str,
    "error": str,
    "cached": bool,
    "queued": int,
    "started": int,
    "value": str,
    "size": int,
    "span": str,
    "attributes": dict,
    "dropped": int,
}
# What is left out where nothing is to be said.
_LEFT_OUT: Final[dict[str, Any]] = {
    "name": "",
    "inputs": (),
    "where": "",
    "place": "",
    "attempt": 0,
    "outcome": "succeeded",
    "error": "",
    "dropped": 0,
    "text": "",
    "stream": "stdout",
    "attributes": {},
    "span": "",
}


class NewerLogError(Exception):
    """A log in a format that only a newer Entangle can read; says so."""


def line(fields: Fields) -> str:
    """Return a line of a log."""
    return json.dumps(fields, separators=(",", ":"), default=str) + "\n"


def header(begun: RunStarted, **more: object) -> str:
    """Return the first line of a log."""
    fields: Fields = {
        "entangle": "log",
        "format": FORMAT,
        "events": EVENTS_VERSION,
        "run": begun.run,
        "time": begun.time,
        "name": begun.name,
        "nodes": begun.nodes,
    }
    if begun.parent is not None:
        fields["parent"] = list(begun.parent)
    if begun.trace:
        fields["trace"] = begun.trace
    return line(fields | more)


def line_of(event: Event, began: float) -> str:
    """Return the line of an event of a run that began at some time."""
    kind: type[Any] = type(event)
    fields: Fields = {"event": _NAMES[kind]}
    for name, value in event._asdict().items():
        if name == "run" or (_is_empty(value) and name not in {"time", "node"}):
            continue
        fields[name] = round((value - began) * 1e6) if name in _TIMES else value
    return line(fields)


def _is_empty(value: object) -> bool:
    return value in _EMPTY


_LATEST: Final = 1e12  # seconds since the epoch: what is no date is damage


def read_header(text: bytes) -> Fields | None:
    """Read the first line of a log; None if it is damaged.

    Raises:
        NewerLogError: it is in a format of a newer Entangle.
    """
    fields = _parsed(text)
    if fields is None or fields.get("entangle") != "log":
        return None
    version = fields.get("format")
    if type(version) is int and version > FORMAT:
        raise NewerLogError(
            f"this log is in format {version}, and this Entangle reads up to {FORMAT}: "
            "upgrade entangle-core to read it"
        )
    sound = (
        type(version) is int
        and type(fields.get("run")) is str
        and type(fields.get("time")) in {int, float}
        and abs(fields["time"]) < _LATEST  # nor is it NaN
        and type(fields.get("name", "")) is str
        and type(fields.get("nodes", 0)) is int
    )
    return fields if sound else None


class Lines:
    """Makes the lines of one log into events again.

    Attributes:
        damaged: How many lines could not be read.
    """

    def __init__(self, run: str, began: float) -> None:
        self.damaged = 0
        self._run = run
        self._began = began
        self._names: dict[int, tuple[str, str]] = {}

    def events(self, text: bytes) -> Iterator[Event]:
        """Yield the events of a line; nothing for one that is damaged or unknown."""
        fields = _parsed(text)
        kind = None if fields is None else fields.pop("event", None)
        if fields is None or type(kind) is not str:
            self.damaged += 1
        elif kind in _KINDS or kind == "succeeded":
            try:
                if kind == "succeeded":
                    made = self._together(fields)
                else:
                    made = list(self._made(_KINDS[kind], fields))
            except (TypeError, ValueError, KeyError, OverflowError):
                self.damaged += 1
            else:
                yield from made

    def _made(self, kind: Any, fields: Fields) -> Iterator[Event]:
        for name, value in fields.items():
            sort = kind_of(value)
            if sort is not _TYPES.get(name, sort):
                raise TypeError(name)
        for name in _TIMES:
            if name in fields:
                fields[name] = self._began + fields[name] / 1e6
        count = fields.pop("count", 1)
        if not 0 < count <= _MOST_ALIKE:
            raise ValueError(count)
        known: Fields = {}
        if kind is not RunEnded:
            number = fields["node"]
            if kind is NodeAdded:
                fields["inputs"] = tuple(map(int, fields.get("inputs", ())))
                self._names.update(
                    dict.fromkeys(
                        range(number, number + count),
                        (fields.get("name", ""), fields.get("place", "")),
                    )
                )
            name, place = self._names.get(number, ("", ""))
            known = {"name": name, "place": place}
        known = {**_LEFT_OUT, **known, **fields, "run": self._run}
        given = {name: known[name] for name in kind._fields if name in known}
        event: Any = kind(**given)
        yield event
        for further in range(1, count):
            yield event._replace(node=event.node + further)

    def _together(self, fields: Fields) -> list[Event]:
        """Return the events of calls that have returned values together."""
        nodes = _numbers(fields["nodes"])
        count = len(nodes)
        zeros = [0] * count
        columns = [
            _numbers(fields.get(name, usual), count)
            for name, usual in (
                ("took", zeros),
                ("started", zeros),
                ("queued", zeros),
                ("pids", zeros),
                ("attempts", [1] * count),
                ("sizes", zeros),
            )
        ]
        values = fields.get("values", zeros)
        if type(values) is not list or len(values) != count:  # pyright: ignore[reportUnknownArgumentType]
            raise ValueError("values")
        now: int = fields["time"]
        if type(now) is not int:
            raise TypeError("time")
        began, run = self._began, self._run
        made: list[Event] = []
        later: dict[int, float] = {}
        # As `Teller.succeeded` finds out when they began.
        for at in reversed(range(count)):
            took, started, queued, pid, attempt, size = [each[at] for each in columns]
            ended = float(now)
            if not started:
                ended = later.get(pid, ended)
                later[pid] = start = ended - took / 1e3
            else:
                start = float(started)
                ended = min(start + took / 1e3, ended) if took else ended
            name, place = self._names.get(nodes[at], ("", ""))
            made.append(
                NodeEnded(
                    run,
                    began + ended / 1e6,
                    nodes[at],
                    name,
                    attempt,
                    "succeeded",
                    "",
                    queued=began + (queued or start) / 1e6,
                    started=began + start / 1e6,
                    place=place,
                    pid=pid,
                    value=str(values[at]),  # pyright: ignore[reportUnknownArgumentType]
                    size=size,
                )
            )
        made.reverse()
        return made


def _numbers(given: Any, count: int | None = None) -> list[int]:
    """Return a list of whole numbers.

    Raises:
        TypeError, ValueError: it is none, or not so many.
    """
    if type(given) is not list or not _INT.issuperset(map(type, given)):  # pyright: ignore[reportUnknownArgumentType]
        raise TypeError("a list of whole numbers")
    numbers: list[int] = [*given]
    if count is not None and len(numbers) != count:
        raise ValueError("as many as there are nodes")
    return numbers


def _parsed(text: bytes) -> Fields | None:
    """Return the object of a whole line, else None."""
    if not text.endswith(b"\n"):
        return None
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("Fields", fields) if kind_of(fields) is dict else None


class Scribe(Teller):
    """Makes the lines of a log of what comes often; of the rest events, as others do.

    What is lines here never was an event: that would take twice as long.
    """

    _begun = 0.0

    def whole(self, event: Any) -> None:
        """The run begins."""
        self._begun = event.time - self.epoch
        super().whole(event)

    def added(self, noted: tuple[float, int, list[Any], int]) -> None:
        """Nodes were added: alike ones in one line."""
        now, number, rows, parent = noted
        moment = self._since(now)
        first: Any = None
        count, at = 0, -1
        task = code = of = inputs_of = None
        for row in rows:
            node, inputs, options = row
            if (
                count
                and kind_of(node) is Node
                and node.code is code
                and node.lasti == at
                and node.task is task
                and options is of
                and inputs == inputs_of
            ):
                count += 1
                continue
            if count:
                self._write_added(moment, number, count, first, parent)
                number += count
            first, count, code = row, 1, None
            if kind_of(node) is Node and not is_choice(node):
                task, code, at, of, inputs_of = (
                    node.task,
                    node.code,
                    node.lasti,
                    options,
                    inputs,
                )
        if count:
            self._write_added(moment, number, count, first, parent)

    def _write_added(
        self, moment: int, number: int, count: int, row: Any, parent: int
    ) -> None:
        node, inputs, options = row
        name, code, lasti = described(node)
        if inputs and type(inputs[0]) is not int:
            inputs = [self._numbers.get(each, 0) for each in inputs]
        fields: Fields = {"event": "added", "time": moment, "node": number}
        if count > 1:
            fields["count"] = count
        fields |= {"name": name, "where": self._line(code, lasti)}
        fields["place"] = self._place(options)
        if inputs:
            fields["inputs"] = list(inputs)
        if parent:
            fields["parent"] = parent
        self.events.append(line(fields))

    def succeeded(self, noted: tuple[float, list[Any]]) -> None:
        """Calls have returned values: some share a line, with a list for each field."""
        now, rows = noted
        moment = self._since(now)
        for at in range(0, len(rows), _TOGETHER):
            columns = list(zip(*rows[at : at + _TOGETHER], strict=True))
            nodes, _, attempts, _, queued, began, took, pids, _, known, sizes = columns
            values: Any = known
            fields: Fields = {"event": "succeeded", "time": moment, "nodes": nodes}
            fields["took"] = took
            if any(began):
                fields["started"] = [self._since(each) if each else 0 for each in began]
            if any(queued):
                since = {each: self._since(each) if each else 0 for each in set(queued)}
                fields["queued"] = [since[each] for each in queued]
            fields["pids"] = pids
            if set(attempts) != {1}:
                fields["attempts"] = attempts
            if not _INT.issuperset(map(type, values)):
                values = [
                    value if type(value) is Shown else preview(value)
                    for value in values
                ]
            fields["values"] = values
            if any(sizes):
                fields["sizes"] = sizes
            self.events.append(line(fields))

    def _since(self, moment: float) -> int:
        """Return the time since the begin, in microseconds."""
        return round((moment - self._begun) * 1e6)
