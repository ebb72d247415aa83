"""Streams to the Pythons in containers, and how they have ended."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from entangle.backend import Ended, Stream

from ._attached import STDERR, Attached, Tail
from ._errors import DockerError
from ._log import log

if TYPE_CHECKING:
    import socket

    from ._engine import Engine
    from ._watch import Watch

_SIGNALLED: Final = 128
_PATIENCE: Final = 1.0
"""Seconds that the engine is given to tell how a container has ended."""
_REMOVAL: Final = 5.0
"""Seconds that a container is given to end by itself, and to be removed."""


class Container:
    """A started container, and all that is known of it.

    Attributes:
        id: Its id.
        name: What people call it.
        said: The last that was printed there, apart from what tasks print.
    """

    def __init__(self, engine: Engine, watch: Watch, id_: str, name: str) -> None:
        self.id = id_
        self.name = name
        self.said = Tail()
        self._engine = engine
        self._watch = watch
        self._ending = threading.Lock()
        self._ended = False

    def end(self, *, kill: bool) -> None:
        """Have it removed, and wait until it is.

        Args:
            kill: At once; else it is given time to end by itself.
        """
        with self._ending:
            if self._ended:
                return
            self._ended = True
        gone = not kill and self._watch.fate(self.id, _REMOVAL, gone=True).gone
        if not gone:
            try:
                self._engine.remove(self.id)
            except DockerError as error:
                log.warning(
                    "%s can't be removed: %s; `entangle sweep docker` finds it",
                    self.name,
                    error.reason,
                )
            else:
                self._watch.fate(self.id, _REMOVAL, gone=True)
        self._watch.forget(self.id)

    def fate(self) -> Ended:
        """Say how it has ended; waits up to a second."""
        fate = self._watch.fate(self.id, _PATIENCE)
        code = fate.exit_code
        detail = str(self.said)
        if code is None and self._watch.lost:
            lost = f"the Docker Engine at {self._engine.address} has stopped"
            detail = f"{lost}; {detail}" if detail else lost
        signalled = code is not None and code > _SIGNALLED
        return Ended(
            signal=code - _SIGNALLED if code is not None and signalled else None,
            exit_code=None if signalled else code,
            out_of_memory=fate.out_of_memory,
            detail=f"{self.name}: {detail}" if detail else self.name,
        )


class SocketStream(Stream):
    """A connection that the worker in the container has made."""

    def __init__(
        self, container: Container, connection: socket.socket, attached: Attached
    ) -> None:
        self._container = container
        self._connection = connection
        self._attached = attached
        connection.settimeout(None)

    def descriptors(self) -> tuple[int, int]:
        """Return the socket's descriptor."""
        number = self._connection.fileno()
        return number, number

    def read(self, size: int) -> bytes:
        """Return what has come."""
        return self._connection.recv(size)

    def write(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        self._connection.sendall(data)

    def close(self) -> None:
        """Let the worker see the end, and wait until its container is gone."""
        self._connection.close()
        self._container.end(kill=False)
        self._attached.close()

    def kill(self) -> None:
        """End the container now."""
        # Whoever reads our end sees it, even if the engine does not answer.
        self._connection.close()
        self._container.end(kill=True)
        self._attached.close()

    def ended(self) -> Ended:
        """Say how the container has ended."""
        fate = self._container.fate()
        if fate.exit_code is None and fate.signal is None:
            return fate
        # It is over: what was printed and not read yet has an end.
        while data := self._attached.frame(1 << 16)[1]:
            self._container.said.add(data)
        return self._container.fate()


class AttachedStream(Stream):
    """A container's standard streams, where it can't reach a socket of ours."""

    def __init__(self, container: Container, attached: Attached) -> None:
        self._container = container
        self._attached = attached
        self._first = b""

    def begun(self) -> bool:
        """Wait until it says something; False if it ended instead."""
        while not self._first:
            kind, data = self._attached.frame(1 << 16)
            if not data:
                return False
            if kind == STDERR:
                self._container.said.add(data)
            else:
                self._first = data
        return True

    def read(self, size: int) -> bytes:
        """Return what has come; what is printed to standard error is kept aside."""
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        while True:
            kind, data = self._attached.frame(size)
            if kind != STDERR or not data:
                return data
            self._container.said.add(data)

    def write(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        self._attached.write(data)

    def close(self) -> None:
        """Let the worker see the end, and wait until its container is gone."""
        with suppress(OSError):
            self._attached.end_input()
        self._container.end(kill=False)
        self._attached.close()

    def kill(self) -> None:
        """End the container now."""
        self._attached.close()
        self._container.end(kill=True)

    def ended(self) -> Ended:
        """Say how the container has ended."""
        return self._container.fate()
