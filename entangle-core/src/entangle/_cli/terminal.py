"""What is said on stderr: whatever stderr is, or whether it is there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"


def say(text: str, *, end: str = "\n") -> None:
    """Write to stderr; that it is closed, or its reader gone, matters to nobody."""
    from entangle._clean import fitting

    stream: TextIO | None = sys.stderr
    if stream is None:
        return
    try:
        stream.write(fitting(text + end, stream))
        stream.flush()
    except (OSError, ValueError):
        # What is left in its buffer would fail again at exit.
        sys.stderr = None


def put(text: str, *, xml: bool = False) -> None:
    """Write a line of ours to stdout, in the characters that it can write.

    Args:
        text: The line, or several.
        xml: Whether characters may be written as XML does.

    Raises:
        BrokenPipeError: its reader has gone.
    """
    from entangle._clean import fitting

    stream: TextIO | None = sys.stdout
    if stream is not None:
        if xml:
            encoding = stream.encoding or "ascii"
            text = text.encode(encoding, "xmlcharrefreplace").decode(encoding)
        stream.write(fitting(text + "\n", stream))


def show(text: str) -> None:
    """Write a value's text to stdout: what can't be written there is escaped.

    Raises:
        OSError: it can't be written, or its reader has gone.
    """
    stream: TextIO | None = sys.stdout
    if stream is not None:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
            print(text, file=stream, flush=True)


def flush() -> None:
    """Write what is left for stdout.

    Raises:
        BrokenPipeError: its reader has gone.
    """
    stream: TextIO | None = sys.stdout
    if stream is not None:
        stream.flush()


def silence() -> None:
    """Let go of stdout, whose reader has gone: Python would complain at its exit."""
    stream: TextIO | None = sys.stdout
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def hint(text: str) -> None:
    """Say how to go on, to people: not in scripts, not in CI."""
    if _terminal() and not os.environ.get("CI"):
        say(text)


def coloured() -> bool:
    """Tell whether stderr is a terminal that shows colours to who wants them."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return _terminal()


def _terminal() -> bool:
    stream: TextIO | None = sys.stderr
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


def red(text: str) -> str:
    """Return a text in red, where that is wanted."""
    return f"{_RED}{text}{_PLAIN}" if coloured() else text


def counted(count: int, noun: str) -> str:
    """Return how many there are of something, in words: ``1 warning``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def troubles_are_listed() -> None:
    """Have what is wrong with plugins said by the command alone, not by the log, too.

    Whoever has set up logging gets it there all the same.
    """
    from logging import NullHandler, getLogger

    getLogger("entangle.plugins").addHandler(NullHandler())
