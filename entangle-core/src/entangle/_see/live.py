"""A picture of runs at the bottom of a terminal, replaced as they go on.

Whatever the program and its tasks print meanwhile appears above it, as they have written
it and where they have written it to: the picture is taken away first, and drawn again
below. It is text on stderr alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from entangle._clean import fitting

from .lines import head, plain, summary, tree
from .progress import Display, PlainDisplay

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .lines import Line
    from .state import RunState

STYLES: Final = {
    "": "",
    "name": "bold",
    "faint": "dim",
    "running": "cyan",
    "good": "green",
    "bad": "red",
}
_UP: Final = "\x1b[1A\x1b[2K"
_DRAWN: Final = "├─✓…"  # a sample of what pictures are made of
_LEAST_WIDTH: Final = 20
_MOST_LINES: Final = 30  # of a picture, however high the terminal is

_drawing = threading.RLock()  # what is written to the terminal, by whomever
_active: list[LiveDisplay] = []  # at most one: who has the bottom of the terminal


def live(*, forced: bool) -> Display | None:
    """Return the display for this program's stderr; None where nobody would see it.

    Args:
        forced: Whether lines are to be shown at least, whoever reads them.
    """
    stream = sys.stderr
    if not _is_terminal(stream):
        if "ipykernel" in sys.modules and not forced:
            return NotebookDisplay()
        return PlainDisplay() if forced else None
    dumb = os.environ.get("TERM", "").lower() in {"", "dumb", "unknown"}
    # Other characters than those that were counted would make lines longer.
    dumb = dumb or fitting(_DRAWN, stream) != _DRAWN
    if dumb or (os.environ.get("CI") and not forced) or _taken():
        return PlainDisplay()
    try:
        rich: Any = import_module("rich.console")
    except ImportError:
        return PlainDisplay()
    console = rich.Console(file=stream, highlight=False, markup=False, emoji=False)
    return LiveDisplay(console)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def _taken() -> bool:
    """Tell whether somebody else draws at the bottom of the terminal."""
    if _active:
        return True
    rich = sys.modules.get("rich")
    console: Any = getattr(rich, "_console", None)
    return bool(
        getattr(console, "_live_stack", None) or getattr(console, "_live", None)
    )


class LiveDisplay(Display):
    """Draws runs as trees. Thread-safe."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._file = console.file
        self._owner = os.getpid()
        self._height = 0
        self._open_line = False  # whether somebody has written half a line
        self._proxies: dict[str, _Above] = {}

    def show(self, runs: Sequence[RunState], now: float) -> None:
        """Draw how far runs are."""
        with _drawing:
            if not self._begin() or self._open_line:
                return
            width, height = self._size()
            room = max(2, min(height - 1, _MOST_LINES) - len(runs))
            lines: list[Line] = []
            for run in runs:
                lines += [head(run, now), *tree(run, room // len(runs), now)]
            text = self._rendered(lines, max(_LEAST_WIDTH, width) - 1)
            self._put(self._erasing() + text)
            self._height = text.count("\n")

    def ended(self, run: RunState) -> None:
        """Leave a line of what a run has come to."""
        with _drawing:
            self.erase()
            if self._open_line:
                self._put("\n")
                self._open_line = False
            width, _ = self._size()
            self._put(
                self._rendered([summary(run)], max(_LEAST_WIDTH, width), fold=True)
            )

    def close(self) -> None:
        """Take the picture away, and give the streams back."""
        with _drawing:
            try:
                self.erase()
            finally:
                for name, proxy in self._proxies.items():
                    with contextlib.suppress(OSError, ValueError):
                        proxy.finish()
                    if getattr(sys, name) is proxy:
                        setattr(sys, name, proxy.stream)
                self._proxies.clear()
                if self in _active:
                    _active.remove(self)

    def erase(self) -> None:
        """Take the picture away until it is drawn the next time."""
        if self._height:
            self._put(self._erasing())
            self._height = 0

    @contextlib.contextmanager
    def above(self) -> Generator[None, None, None]:
        """Write something where the picture is, which comes again below it."""
        with _drawing:
            # Where the terminal is gone who writes will see for himself.
            with contextlib.suppress(OSError, ValueError):
                self.erase()
            yield

    def wrote(self, text: str) -> None:
        """Somebody has written text to the terminal."""
        if text:
            self._open_line = not text.endswith("\n")

    @property
    def mine(self) -> bool:
        """Whether this is the process that draws, and not a child of it."""
        return os.getpid() == self._owner

    def _begin(self) -> bool:
        """Take the bottom of the terminal; False if another one has it."""
        if self in _active:
            return True
        if _active:
            return False
        _active.append(self)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _is_terminal(stream):
                self._proxies[name] = proxy = _Above(stream, self)
                setattr(sys, name, proxy)
        return True

    def _size(self) -> tuple[int, int]:
        """Return how many columns and lines the terminal has now.

        By what it says itself: variables may be of another one, or of before it was
        resized, and a line that is too long for it can't be taken away.
        """
        with contextlib.suppress(AttributeError, OSError, ValueError):
            columns, lines = os.get_terminal_size(self._file.fileno())
            if columns and lines:
                return columns, lines
        size: tuple[int, int] = self._console.size
        return size

    def _erasing(self) -> str:
        return f"\r{_UP * self._height}" if self._height else ""

    def _rendered(
        self, lines: Sequence[Line], width: int, *, fold: bool = False
    ) -> str:
        rich: Any = import_module("rich.text")
        console = self._console
        with console.capture() as captured:
            for line in lines:
                text = rich.Text()
                for piece, style in line:
                    text.append(piece, STYLES[style])
                console.print(
                    text,
                    width=width,
                    no_wrap=not fold,
                    overflow="fold" if fold else "ellipsis",
                )
        made: str = captured.get()
        return made

    def _put(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


class _Above:
    """A stream of the program while a picture is drawn below what it writes.

    As a terminal's stream does, it waits for the end of a line, or to be flushed; each
    thread's line for itself, so that those of several threads stay whole.
    """

    def __init__(self, stream: Any, display: LiveDisplay) -> None:
        self.stream = stream
        self._display = display
        self._begun: dict[int, str] = {}  # lines without an end, by thread

    def write(self, text: str) -> int:
        """Write to the stream, above the picture."""
        if not self._display.mine:
            count: int = self.stream.write(text)
            return count
        thread = threading.get_ident()
        lines, newline, rest = (self._begun.pop(thread, "") + text).rpartition("\n")
        if rest:
            self._begun[thread] = rest
        if newline:
            self._put(lines + newline)
        return len(text)

    def flush(self) -> None:
        """Write what the calling thread has begun, and flush the stream."""
        begun = self._begun.pop(threading.get_ident(), "")
        if begun and self._display.mine:
            self._put(begun)
        else:
            self.stream.flush()

    def finish(self) -> None:
        """Write what all threads have begun; nothing is drawn any more."""
        while self._begun:
            self._put(self._begun.popitem()[1])

    def _put(self, text: str) -> None:
        with self._display.above():
            self.stream.write(text)
            self.stream.flush()
            self._display.wrote(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        self.write("".join(lines))

    def __iter__(self) -> Any:
        """Iterate over what the stream has."""
        return iter(self.stream)

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the stream does it."""
        return getattr(self.stream, name)


class NotebookDisplay(Display):
    """Shows the same as plain text below the cell, replaced as the runs go on."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, runs: Sequence[RunState], now: float) -> None:
        """Show how far runs are."""
        lines: list[Line] = []
        for run in runs:
            lines += [head(run, now), *tree(run, _MOST_LINES // len(runs), now)]
        self._display(lines)

    def ended(self, run: RunState) -> None:
        """Show what a run has come to."""
        self._display([summary(run)])

    def close(self) -> None:
        """Leave what is shown."""
        self._handle = None

    def _display(self, lines: Sequence[Line]) -> None:
        shown = {"text/plain": "\n".join(map(plain, lines))}
        if self._handle is None:
            display: Any = import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
