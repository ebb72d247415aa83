"""Showing on stderr how far runs are, for those that take a while."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from entangle._clean import fitting, one_line
from entangle._run.observing import PROGRESS, Observer, observed, progress_asked
from entangle._seam.events import NodeEnded, RunStarted
from entangle.errors import OptionError

from .format import header, line_of
from .lines import GLYPHS, duration, head, plain, shown_name, summary
from .state import RunState

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


MODES: Final = ("auto", "live", "plain", "json", "off")
PATIENCE: Final = 0.3  # seconds that a run may take without being shown
EACH: Final = 0.1  # seconds between two looks
FEW: Final = 200  # nodes that get a line each where lines can't be replaced
SELDOM: Final = 5.0  # seconds between lines that only say how far a large run is
_RUNS: Final = 3  # that are shown at once


class Display:
    """What shows lines, and lets others print meanwhile."""

    def show(self, runs: Sequence[RunState], now: float) -> None:
        """Show how far runs are; they take long enough for that."""

    def news(self, run: RunState, events: Sequence[Any], *, shown: bool) -> None:
        """Take what has happened; whether its run takes long enough to be shown."""

    def ended(self, run: RunState) -> None:
        """A run that was shown is over."""

    def close(self) -> None:
        """Nothing more is shown."""


class Progress(Observer):
    """Has a display show the runs that it observes, once they take long.

    What can't be written to is given up: no run is disturbed by it.
    """

    ours = True

    def __init__(self, display: Display, *, patience: float = PATIENCE) -> None:
        super().__init__()
        self._display = display
        self._patience = patience
        self._runs: dict[str, RunState] = {}
        self._seen: set[str] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken = False

    def take(self, run: str, events: Sequence[Any]) -> None:
        """Take note of events."""
        with self._guard:
            if events and type(events[0]) is RunStarted:
                self._runs[run] = RunState(events[0])
                self._start()
            known = self._runs.get(run)
            if known is None or self._broken:
                return
            known.take(events)
            self._appear(known)
            self._try(self._display.news, known, events, shown=run in self._seen)

    def over(self, run: str) -> None:
        """A run is over: say what it has come to, if it was shown."""
        with self._guard:
            known = self._runs.pop(run, None)
            if known is not None and run in self._seen:
                self._seen.discard(run)
                if known.begun.parent is None:
                    self._try(self._display.ended, known)
            last = not self._runs
            thread, self._thread = (
                (self._thread, None) if last else (None, self._thread)
            )
            if last:
                self._try(self._display.close)
                self._wake.set()
        if thread is not None:
            thread.join(5 * EACH)

    def _start(self) -> None:
        if self._thread is None:
            self._wake = threading.Event()
            thread = threading.Thread(
                target=self._serve,
                args=(self._wake,),
                name="entangle-progress",
                daemon=True,
            )
            with contextlib.suppress(RuntimeError):  # no thread is to be had
                thread.start()
                self._thread = thread

    def _serve(self, over: threading.Event) -> None:
        while not over.wait(EACH):
            with self._guard:
                if over.is_set() or self._broken:
                    return
                for run in self._runs.values():
                    self._appear(run)
                shown = [
                    run
                    for name, run in self._runs.items()
                    if name in self._seen and run.begun.parent is None
                ]
                if shown:
                    self._try(self._display.show, shown[:_RUNS], time.time())

    def _appear(self, run: RunState) -> None:
        if time.time() - run.begun.time >= self._patience:
            self._seen.add(run.begun.run)

    def _try(self, show: Any, *args: Any, **options: Any) -> None:
        if self._broken:
            return
        try:
            show(*args, **options)
        except (OSError, ValueError):
            # The terminal is gone, or somebody has closed stderr.
            self._broken = True


class PlainDisplay(Display):
    """Lines that stay: one for each node, or for large runs one now and then."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def news(self, run: RunState, events: Sequence[Any], *, shown: bool) -> None:
        """Tell of nodes that have ended; once the run is shown."""
        if not shown:
            return
        for event in events:
            if type(event) is not NodeEnded or not event.attempt:
                continue
            if run.total <= FEW or event.outcome == "failed":
                _write(_ended(event))

    def show(self, runs: Sequence[RunState], now: float) -> None:
        """Tell how far large runs are."""
        for run in runs:
            if now - self._told.get(run.begun.run, run.begun.time) >= SELDOM:
                self._told[run.begun.run] = now
                _write(plain(head(run, now)))

    def ended(self, run: RunState) -> None:
        """Say what a run has come to."""
        self._told.pop(run.begun.run, None)
        _write(plain(summary(run)))


class JsonDisplay(Display):
    """A line of JSON for each event, as in a run's log."""

    def news(self, run: RunState, events: Sequence[Any], *, shown: bool) -> None:
        """Write all events, however short the run is."""
        del shown
        text: list[str] = []
        for event in events:
            if type(event) is RunStarted:
                text.append(header(event))
            else:
                text.append(line_of(event, run.begun.time))
        _write("".join(text), end="")


def _ended(event: NodeEnded) -> str:
    glyph, _ = GLYPHS.get(event.outcome, ("■", ""))
    text = f"{glyph} {shown_name(event.name)}"
    if event.attempt > 1:
        text += f" · attempt {event.attempt}"
    if event.started:
        text += f"  {duration(event.time - event.started)}"
    if event.error:
        return f"{text}  {one_line(event.error, 100)}"
    return f"{text}  → {one_line(event.value, 100)}" if event.value else text


def _write(text: str, end: str = "\n") -> None:
    stream = sys.stderr
    if stream is None:
        raise OSError("there is no stderr")
    stream.write(fitting(text + end, stream))
    stream.flush()


def chosen(mode: str) -> Display | None:
    """Return the display for a mode; None where nothing is to be shown.

    Raises:
        OptionError: there is no such mode.
    """
    if mode not in MODES:
        from difflib import get_close_matches

        close = get_close_matches(mode, MODES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f": {', '.join(MODES)}"
        raise OptionError(
            f"progress={mode!r} is no way to show it{hint}",
            decorator="",
            option="progress",
        )
    if mode == "json":
        return JsonDisplay()
    if mode == "plain":
        return PlainDisplay()
    if mode == "off":
        return None
    from .live import live

    return live(forced=mode == "live")


@contextlib.contextmanager
def progress(mode: str | bool | None = None) -> Generator[None, None, None]:  # noqa: FBT001
    """Show on stderr how far the runs are that a block begins.

    Nothing is shown of runs that take less than 0.3 seconds. Nothing is ever written to
    stdout; what the program and its tasks print meanwhile appears above the picture.

    Args:
        mode: ``'auto'``: a picture that is replaced, on a terminal, if rich is installed
            (``pip install 'entangle-core[progress]'``); lines, on one where nothing can
            be replaced; nothing where stderr is no terminal. ``'live'`` and ``'plain'``
            ask for the picture, or for lines. ``'json'``: each event as a line of JSON.
            ``'off'`` or False: nothing. True or left out: what ``ENTANGLE_PROGRESS``
            says, else ``'auto'``.

    Raises:
        OptionError: There is no such mode.
    """
    display = chosen(mode_of(mode))
    token = progress_asked.set(True)
    try:
        with observed([] if display is None else [Progress(display)]):
            yield
    finally:
        progress_asked.reset(token)


def mode_of(mode: str | bool | None) -> str:  # noqa: FBT001
    """Return what is asked for, by an argument or else by the environment."""
    if mode is False:
        return "off"
    if isinstance(mode, str):
        return mode
    text = os.environ.get(PROGRESS, "").strip().lower()
    return {"": "auto", "1": "auto", "0": "off"}.get(text, text)
