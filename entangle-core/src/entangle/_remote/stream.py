"""What a place gives: a duplex byte stream to one Python, and how that ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple


class Ended(NamedTuple):
    """How what was at the other end of a stream has ended, as far as it is known.

    Attributes:
        signal: The number of the signal that ended it, or None.
        exit_code: Its exit code, or None.
        out_of_memory: Whether it was ended because memory ran out.
        detail: Anything else that helps, such as the last lines that it has said.
    """

    signal: int | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    detail: str = ""


class Stream(ABC):
    """One duplex byte stream to one Python somewhere, and what it belongs to.

    The caller of `StreamExecutor.open` owns it and calls `close` or `kill` once, at
    its end. `read` is called by one thread at a time, `write` by another one; the other
    methods by any thread, at any time. What one raises counts as the stream's end, and
    is told.
    """

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Return what has come, 1 to ``size`` bytes; wait for it. ``b""`` at the end."""

    @abstractmethod
    def write(self, data: bytes | memoryview) -> None:
        """Send all of it; wait until it is taken."""

    @abstractmethod
    def close(self) -> None:
        """End in good order: the other side sees the end of its input.

        Returns when what belongs to the stream (a process, a container) is gone. A
        `read` or `write` that waits must return or raise.
        """

    @abstractmethod
    def kill(self) -> None:
        """End the place and all that runs there, now; else as `close`."""

    def ended(self) -> Ended:
        """Say how it has ended. Called once, after the end of what is read.

        It may wait for up to a second. By default nothing is known.
        """
        return Ended()

    def descriptors(self) -> tuple[int, int] | None:
        """Return the descriptors to read from and to write to, if it is only that.

        They may be of pipes or sockets, and may be the same. They are then used
        directly, without threads, instead of `read` and `write`, and are made
        non-blocking; `close` and `kill` close them. None where `read` and `write` do
        more than that.
        """
        return None
