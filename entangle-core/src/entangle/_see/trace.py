"""A trace of runs in the Chrome format, which Perfetto opens, written while they run.

The file is a list of events in JSON. The format lets the closing bracket be missing, so
that what a killed program leaves can be opened, too. Slices of one lane must nest: a
lane is a worker process, or as many as are needed for what runs elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.callables import kind_of
from entangle._log import Log
from entangle._run.observing import Observer, observed
from entangle._run.spans import span_id
from entangle._seam.events import (
    NodeAdded,
    NodeEnded,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    Fields = dict[str, Any]

log = Log("entangle.run")

_MOST_ARROWS: Final = 256  # that lead to one node
_LONGEST: Final = 300  # characters of a text
_COLOURS: Final = {"failed": "terrible", "succeeded": "good", "expanded": "good"}


class TraceFile(Observer):
    """Writes one trace of all runs that it observes.

    Times are kept in whole nanoseconds and written as microseconds, from the begin of
    the first run on. What is named ``pid`` and ``tid`` in the format are a run and a lane
    of it, numbered from 1.

    Raises:
        OSError: the file can't be written, or another program traces to it.
    """

    ours = True
    traces = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            frozenset(
                (RunStarted, NodeAdded, NodeStarted, NodeEnded, NodeSpan, RunEnded)
            )
        )
        self.path = os.fspath(path)
        self._owner = os.getpid()
        self._file = _opened(self.path)
        self._begun = 0.0
        self._runs: dict[str, _Run] = {}
        self._count = 0
        self._write("[\n")

    def take(self, run: str, events: Sequence[Any]) -> None:
        """Write what some events show."""
        if self._file < 0 or os.getpid() != self._owner:
            return
        first = events[0] if events else None
        if type(first) is RunStarted:
            self._begun = self._begun or first.time
            self._count += 1
            self._runs[run] = _Run(self._count, self._begun, first)
        known = self._runs.get(run)
        if known is not None:
            known.take(events)
            self._write(known.text())

    def over(self, run: str) -> None:
        """A run is over."""
        self._runs.pop(run, None)

    def closed(self) -> None:
        """End the list, and compress the file if its name says so."""
        if self._file < 0 or os.getpid() != self._owner:
            return
        # A list ends without a comma.
        self._write('{"ph":"M","name":"trace_end","pid":1,"tid":1,"args":{}}\n]\n')
        if self._file < 0:
            return
        try:
            if self.path.endswith(".gz"):
                _compress(self.path)
        except OSError as error:
            log.warning("the trace %s is not compressed: %s", self.path, error)
        finally:
            os.close(self._file)
            self._file = -1

    def _write(self, text: str) -> None:
        data = memoryview(text.encode())
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            os.close(self._file)
            self._file = -1
            log.warning("the trace %s ends here: %s", self.path, error)


class _Lane:
    """Where slices stand one behind the other."""

    __slots__ = ("end", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.end = 0


class _Slice:
    """Where the slice of a node is, for arrows that begin there."""

    __slots__ = ("end", "lane")

    def __init__(self, lane: int, end: int) -> None:
        self.lane = lane
        self.end = end


class _Run:
    """The lanes of one run, and what is about to be written of it."""

    def __init__(self, number: int, origin: float, begun: RunStarted) -> None:
        self._number = number
        self._origin = origin
        self._trace = begun.trace
        self._lines: list[str] = []
        self._lanes: dict[Any, list[_Lane]] = {}
        self._count = 0
        self._arrows = 0
        self._added: dict[int, NodeAdded] = {}
        self._slices: dict[int, _Slice] = {}
        self._spans: dict[tuple[int, int], list[NodeSpan]] = {}
        self._counts = {"running": 0, "waiting": 0, "done": 0}
        self._counted = -1
        shown = f"{begun.name or 'run'} {begun.run}"
        self._meta("process_name", 0, shown)
        self._meta("process_sort_index", 0, None, sort_index=number)

    def text(self) -> str:
        """Return what is to be written, once."""
        lines, self._lines = self._lines, []
        return "".join(lines)

    def take(self, events: Iterable[Any]) -> None:
        """Draw what some events show."""
        moment = 0
        for event in events:
            kind = kind_of(event)
            moment = max(moment, self._ns(event.time))
            if kind is NodeAdded:
                self._added[event.node] = event
                self._counts["waiting"] += bool(event.place)
            elif kind is NodeStarted:
                self._counts["running"] += 1
                self._counts["waiting"] -= event.attempt == 1
            elif kind is NodeEnded:
                self._end(event)
            elif kind is NodeSpan:
                self._spans.setdefault((event.node, event.attempt), []).append(event)
        if moment > self._counted:
            self._counted = moment
            counts = {name: max(0, count) for name, count in self._counts.items()}
            self._write("C", "nodes", moment, 1, args=counts)

    def _end(self, event: NodeEnded) -> None:
        counts = self._counts
        counts["done"] += 1
        if not event.started:
            counts["waiting"] -= event.attempt <= 1
            if event.cached:
                lane = self._free(("kept values",), self._ns(event.time), "kept values")
                moment = max(self._ns(event.time), lane.end)
                self._write(
                    "i", event.name, moment, lane.number, args=self._args(event), s="t"
                )
            return
        counts["running"] -= 1
        key = (event.place, event.pid) if event.place == "process" else (event.place,)
        begun = self._ns(event.started)
        alone = event.place == "process" and bool(event.pid)
        label = f"process {event.pid}" if alone else event.place or "elsewhere"
        lane = self._free(key, begun, label, alone=alone)
        begun = max(begun, lane.end)
        ended = max(self._ns(event.time), begun + 1)
        waited = max(self._ns(event.queued), lane.end) if event.queued else begun
        if waited < begun:
            self._write(
                "X",
                f"waiting: {event.name}",
                waited,
                lane.number,
                dur=begun - waited,
                args={"node": event.node, "cause": "queue"},
                cname="grey",
            )
        lane.end = ended
        colour = _COLOURS.get(event.outcome, "bad")
        self._write(
            "X",
            event.name,
            begun,
            lane.number,
            dur=ended - begun,
            args=self._args(event),
            cname=colour,
        )
        self._draw_spans(event, lane.number, begun, ended)
        self._draw_arrows(event.node, lane.number, begun)
        self._slices[event.node] = _Slice(lane.number, ended)

    def _free(self, key: Any, moment: int, label: str, *, alone: bool = False) -> _Lane:
        """Return a lane that is free from a moment on; the only one of a process."""
        lanes = self._lanes.setdefault(key, [])
        for lane in lanes:
            if alone or lane.end <= moment:
                return lane
        self._count += 1
        lanes.append(lane := _Lane(self._count))
        self._meta(
            "thread_name", lane.number, label if alone else f"{label} {len(lanes)}"
        )
        self._meta("thread_sort_index", lane.number, None, sort_index=lane.number)
        return lane

    def _args(self, event: NodeEnded) -> Fields:
        args: Fields = {"node": event.node, "attempt": event.attempt}
        args["outcome"] = event.outcome
        added = self._added.get(event.node)
        if added is not None and added.where:
            args["where"] = added.where
        if event.error:
            args["error"] = event.error[:_LONGEST]
        if event.value:
            args["value"] = event.value[:_LONGEST]
        if event.queued and event.started:
            args["waited_us"] = max(0, round((event.started - event.queued) * 1e6))
        if event.cached:
            args["cached"] = True
        if self._trace:
            args["trace_id"] = self._trace
            args["span_id"] = span_id(self._trace, event.node, event.attempt)
        return args

    def _draw_spans(self, event: NodeEnded, lane: int, begun: int, ended: int) -> None:
        """Draw the parts of a call: inside of its slice, as far as they nest."""
        spans = self._spans.pop((event.node, event.attempt), ())
        inside: list[tuple[int, int, NodeSpan]] = []
        for span in spans:
            start = min(max(self._ns(span.started), begun), ended - 1)
            end = min(max(self._ns(span.time), start + 1), ended)
            inside.append((start, -end, span))
        inside.sort(key=lambda each: each[:2])
        open_until: list[int] = []
        for start, negative, span in inside:
            end = -negative
            while open_until and open_until[-1] <= start:
                open_until.pop()
            where = lane
            if open_until and end > open_until[-1]:
                # Two at once, as of two threads: beside each other.
                beside = self._free(("parts",), start, "parts of calls")
                where, beside.end = beside.number, end
            else:
                open_until.append(end)
            args = {"node": event.node, **span.attributes}
            self._write("X", span.span, start, where, dur=end - start, args=args)

    def _draw_arrows(self, node: int, lane: int, begun: int) -> None:
        """Draw arrows from what a node has taken values of."""
        for other in self._sources(node):
            source = self._slices[other]
            self._arrows += 1
            number = self._number << 32 | self._arrows
            self._write(
                "s", "value", source.end - 1, source.lane, id=number, cat="edge"
            )
            self._write("f", "value", begun, lane, id=number, cat="edge", bp="e")

    def _sources(self, node: int) -> list[int]:
        """Return the nodes with slices that a node comes after."""
        found: dict[int, None] = {}
        seen = {node}
        waiting = [node]
        while waiting and len(found) < _MOST_ARROWS:
            added = self._added.get(waiting.pop())
            if added is None:
                continue
            for other in added.inputs:
                if other in self._slices and other not in found:
                    found[other] = None
                elif other not in seen:
                    # A gather, say: what it has gathered.
                    seen.add(other)
                    waiting.append(other)
        return list(found)[:_MOST_ARROWS]

    def _ns(self, moment: float) -> int:
        return max(0, round((moment - self._origin) * 1e9))

    def _meta(self, name: str, lane: int, shown: str | None, **args: Any) -> None:
        if shown is not None:
            args["name"] = shown
        fields = {"ph": "M", "name": name, "pid": self._number, "tid": max(1, lane)}
        self._lines.append(json.dumps({**fields, "args": args}) + ",\n")

    def _write(self, phase: str, name: str, ns: int, lane: int, **more: Any) -> None:
        fields: Fields = {
            "ph": phase,
            "name": name[:_LONGEST],
            "pid": self._number,
            "tid": lane,
            "ts": ns / 1000,
        }
        if "dur" in more:
            more["dur"] /= 1000
        text = json.dumps({**fields, **more}, separators=(",", ":"), default=str)
        self._lines.append(text + ",\n")


@contextlib.contextmanager
def trace(file: str | os.PathLike[str]) -> Generator[None, None, None]:
    """Write a trace of the runs that a block begins: who ran when, where, after what.

    The file is in the format of Chrome's traces: https://ui.perfetto.dev opens it. It is
    written while the runs are under way, so that what a killed program leaves can be
    opened, too. With a name that ends in ``.gz`` it is compressed at the end.

    It is complete when the block is left and all runs that it has begun are over.

    Args:
        file: Where to write it; what is there is replaced.

    Raises:
        OSError: It can't be written there, or another program is tracing to it.
    """
    with observed([TraceFile(file)]):
        yield


def _opened(path: str) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
    except BlockingIOError:
        os.close(descriptor)
        raise OSError(
            f"{path}: another program, or another block, is tracing to this file: give "
            "each a file of its own"
        ) from None
    except OSError:
        # A pipe, say, or a file system without locks: it is written all the same.
        pass
    return descriptor


def _compress(path: str) -> None:
    """Put a compressed file in the place of a plain one, which can be opened as well."""
    import gzip
    import shutil

    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        with open(path, "rb") as plain, gzip.open(unfinished, "wb", 6) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
        os.replace(unfinished, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
