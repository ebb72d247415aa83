"""The standard streams of a container, through the engine."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._engine import Engine

STDOUT: Final = 1
STDERR: Final = 2
_HEADER: Final = 8
_KEPT: Final = 4000
"""Bytes of what was printed that are kept for messages."""


class Tail:
    """The last that was printed; any thread may add to it."""

    def __init__(self) -> None:
        self._text = b""

    def add(self, data: bytes) -> None:
        """Keep the end of what there is now."""
        self._text = (self._text + data)[-_KEPT:]

    def __str__(self) -> str:
        """Return it as text that a terminal can't be harmed by."""
        text = self._text.decode(errors="replace").replace("\r\n", "\n").strip()
        return "".join(
            char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
            for char in text
        )


class Attached:
    """A container's standard input and output, attached before it is started.

    One thread may read while another writes.
    """

    def __init__(self, engine: Engine, container: str, *, stdin: bool) -> None:
        """Attach.

        Raises:
            DockerError: the engine can't do it.
        """
        parameters = {"stdin": int(stdin), "stdout": 1, "stderr": 1, "stream": 1}
        with engine.asked():
            # An object of the SDK's choice around a socket.
            self._opened: Any = engine.api.attach_socket(container, params=parameters)
        self._socket: Any = getattr(self._opened, "_sock", self._opened)
        with suppress(AttributeError, OSError):
            self._socket.settimeout(None)
        self._kind = 0
        self._left = 0
        self._closing = threading.Lock()
        self._closed = False

    def write(self, data: bytes | memoryview) -> None:
        """Send to its standard input; blocks until all is taken.

        Raises:
            OSError: it was ended.
        """
        self._socket.sendall(data)

    def end_input(self) -> None:
        """Let it see the end of its standard input."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def frame(self, size: int) -> tuple[int, bytes]:
        """Return which stream some next bytes are from, with at most `size` of them.

        Blocks. At the end, and when it was closed, there are none.
        """
        try:
            while not self._left:
                header = self._exactly(_HEADER)
                if len(header) < _HEADER:
                    return 0, b""
                self._kind = header[0]
                self._left = int.from_bytes(header[4:], "big")
            data: bytes = self._socket.recv(min(size, self._left))
        except (OSError, ValueError):
            return 0, b""
        self._left -= len(data)
        return self._kind, data

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more: bytes = self._socket.recv(size - len(data))
            if not more:
                break
            data += more
        return data

    def fileno(self) -> int:
        """Return the descriptor, to wait for; what comes is in frames."""
        number: int = self._socket.fileno()
        return number

    def close(self) -> None:
        """Detach, waking whoever reads; from any thread, more than once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        with suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError, AttributeError):
            self._opened.close()
        with suppress(OSError, AttributeError):
            self._socket.close()
