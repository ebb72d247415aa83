"""Reading the log of a run, whole or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from entangle._seam.events import RunEnded, RunStarted

from .folder import path_of
from .format import Lines, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from entangle._seam.events import Event


_TAIL = 1 << 16  # bytes in which the last line of a log is looked for


class Recorded:
    """The log of one run, read once from its begin to where it ends now.

    Attributes:
        run: The run's identifier.
        begun: Its first event, as far as that can be read.
        header: The first line of the log; empty if it is damaged.
        cut: Whether the log ends within a line: its writer has died, or is writing.
    """

    def __init__(self, folder: str, run: str) -> None:
        """Open it.

        Raises:
            OSError: it can't be read.
            NewerLogError: it is in a format of a newer Entangle.
        """
        self.run = run
        self.cut = False
        self._told = False
        self._file = open(path_of(folder, run), "rb")  # noqa: SIM115 - closed below
        try:
            first = self._file.readline()
            header = read_header(first)
        except BaseException:
            self._file.close()
            raise
        self.header: dict[str, Any] = header or {}
        self.begun = RunStarted(
            run,
            float(self.header.get("time", 0.0)),
            int(self.header.get("nodes", 0)),
            str(self.header.get("name", "")),
            _parent(self.header.get("parent")),
            str(self.header.get("trace", "")),
        )
        self._lines = Lines(run, self.begun.time)
        if header is None:
            # It may be an event all the same; else it counts as damaged.
            self._file.seek(0)

    @property
    def damaged(self) -> int:
        """How many of the lines that were read can't be understood."""
        return self._lines.damaged

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Yield what happened, the begin first.

        Args:
            follow: Stop in front of an unfinished line, to be called again later.
        """
        if not self._told:
            self._told = True
            yield self.begun
        while True:
            at = self._file.tell()
            text = self._file.readline()
            if not text:
                return
            if not text.endswith(b"\n"):
                self.cut = True
                if follow:
                    self._file.seek(at)
                return
            self.cut = False
            yield from self._lines.events(text)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def ending(folder: str, run: str, begun: RunStarted) -> RunEnded | None:
    """Return the last event of a log without reading all of it; None if it is another.

    Raises:
        OSError: it can't be read.
    """
    with open(path_of(folder, run), "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        lines = file.read().splitlines(keepends=True)
    for text in reversed(lines):
        for event in Lines(run, begun.time).events(text):
            return event if isinstance(event, RunEnded) else None
    return None


def _parent(value: Any) -> tuple[str, int] | None:
    """Return what has begun a run, as its log says; None if it doesn't."""
    try:
        run, node = value
    except (TypeError, ValueError):
        return None
    return (run, node) if isinstance(run, str) and isinstance(node, int) else None
