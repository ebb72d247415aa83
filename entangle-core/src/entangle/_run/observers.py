"""Telling observers what happens in a run: the source of all its events."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

from entangle._seam import events
from entangle._seam.plugins import plugins
from entangle.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.options import Options
    from entangle._pool.serial import Serial
    from entangle._seam.plugins import Plugin

    from .calls import NodeCall

MOST_BEHIND = 100_000  # events that wait for one observer

_count = itertools.count(1).__next__


def watch(pool: Any, nodes: int, name: str) -> Watch | None:
    """Ask plugins whether they want to observe a run; None if nobody does.

    Args:
        pool: The pool that the run is in.
        nodes: How many nodes its graph has.
        name: The task whose value is asked for.
    """
    number = f"{time.time_ns():x}-{os.getpid():x}-{_count()}"
    begun = events.RunStarted(number, time.time(), nodes, name)
    observers = [
        _Observer(plugin, function)
        for plugin, function in plugins.ask("entangle_observe", run=begun)
        if function is not None
    ]
    return Watch(begun, observers, pool.serial("observers")) if observers else None


class _Observer:
    """One function of a plugin that is called with events."""

    def __init__(self, plugin: Plugin, function: Callable[[Any], object]) -> None:
        self._plugin = plugin
        self._function = function
        self._broken = False
        self.sent = 0  # written inside the monitor
        self.seen = 0  # written on the observers' thread
        self.dropped = 0

    def take(self, event: events.Event) -> None:
        """Pass an event on; on the observers' thread."""
        self.seen += 1
        if self._broken:
            return
        try:
            self._function(event)
        except BaseException as error:
            self._broken = True
            self._plugin.trouble("an observer failed", error)


class Watch:
    """Makes the events of one run. Inside the monitor only."""

    def __init__(
        self, begun: events.RunStarted, observers: list[_Observer], serial: Serial
    ) -> None:
        self._begun = begun
        self._run = begun.run
        self._observers = observers
        self._serial = serial
        self._numbers: dict[Any, int] = {}
        self._count = 0
        self._started: set[NodeCall] = set()

    def began(self) -> None:
        """The run begins."""
        self._tell(self._begun)

    def started(self, call: NodeCall, ago: float) -> None:
        """The body of a call was entered, some seconds ago; told once."""
        if call in self._started:
            return
        self._started.add(call)
        number, name, attempt = self._of(call)
        shown = shown_place(call.options)
        self._tell(
            events.NodeStarted(
                self._run, time.time() - ago, number, name, attempt, shown
            )
        )

    def printed(self, call: NodeCall, stream: str, text: str) -> None:
        """A call has printed lines."""
        self.started(call, 0.0)  # its output may be read first
        number, name, _ = self._of(call)
        self._tell(
            events.NodeOutput(self._run, time.time(), number, name, stream, text)
        )

    def ended(
        self,
        call: NodeCall,
        outcome: str,
        error: BaseException | None = None,
        *,
        cached: bool = False,
    ) -> None:
        """A call is over."""
        self._started.discard(call)
        text = "" if error is None else one_line(error)
        number, name, attempt = self._of(call)
        self._tell(
            events.NodeEnded(
                self._run, time.time(), number, name, attempt, outcome, text, cached
            )
        )
        if outcome in {"succeeded", "expanded"}:
            self.forget(call.item)

    def skipped(self, item: Any, name: str) -> None:
        """A node of a flow does not run, since nothing reaches it."""
        self._count += 1
        number = self._numbers.pop(item, self._count)
        self._tell(
            events.NodeEnded(self._run, time.time(), number, name, 0, "skipped", "")
        )

    def finished(self, outcome: str, error: BaseException | None) -> None:
        """The run is over."""
        text = "" if error is None else one_line(error)
        now = time.time()
        for observer in self._observers:
            self._send(
                observer,
                events.RunEnded(self._run, now, outcome, text, observer.dropped),
            )

    def _of(self, call: NodeCall) -> tuple[int, str, int]:
        number = self._numbers.get(call.item)
        if number is None:
            self._count = number = self._count + 1
            self._numbers[call.item] = number
        return number, call.name, call.attempt

    def forget(self, item: Any) -> None:
        """A node will not be heard of again."""
        self._numbers.pop(item, None)

    def _tell(self, event: events.Event) -> None:
        for observer in self._observers:
            if observer.sent - observer.seen < MOST_BEHIND:
                self._send(observer, event)
            else:
                observer.dropped += 1

    def _send(self, observer: _Observer, event: events.Event) -> None:
        observer.sent += 1
        self._serial.call(observer.take, event)


def shown_place(options: Options) -> str:
    """Return where calls run, for people; whatever it takes to show it."""
    place = options.executor
    if place is None:
        return options.how
    try:
        return str(place)
    except Exception:
        return type(place).__name__
