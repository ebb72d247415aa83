"""A socket in a private folder, by which a worker reaches its caller."""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._attached import Attached, Tail

NAME: Final = "worker"
NO_WAY: Final = 96
"""Exit code: what is mounted there leads to no socket of ours."""

# Understood by any Python from 2.6 on; what it runs then says its version.
CONNECT: Final = """\
import os, socket, sys
try:
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
except Exception:
    os.write(2, repr(sys.exc_info()[1]).encode())
    os._exit(96)
os.dup2(s.fileno(), 0)
os.dup2(s.fileno(), 1)
s.close()
exec(sys.argv[2])
"""

_TURN: Final = 100


class Door:
    """A folder that nobody else of this machine can enter, with a listening socket.

    Attributes:
        folder: What is to be mounted. Whoever has it mounted may connect, once.
    """

    def __init__(self) -> None:
        self._outer = tempfile.mkdtemp(prefix="entangle-docker-")
        # Whoever the processes in the container are, they may pass; others on this
        # machine are kept out by the folder around it.
        self.folder = os.path.join(self._outer, "door")
        try:
            os.mkdir(self.folder)
            os.chmod(self.folder, 0o755)  # noqa: S103 - see above
            self._socket = socket.socket(socket.AF_UNIX)
            self._bind()
        except BaseException:
            shutil.rmtree(self._outer, ignore_errors=True)
            raise
        self._closing = threading.Lock()
        self._closed = False

    def _bind(self) -> None:
        # The path of a socket may have 107 bytes; that of this folder may be longer.
        folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{folder}/{NAME}"
            self._socket.bind(path)
            os.chmod(path, 0o666)  # noqa: S103 - see above
        finally:
            os.close(folder)
        self._socket.listen(1)

    def wait(
        self, attached: Attached, said: Tail, unwanted: Callable[[], bool]
    ) -> socket.socket | None:
        """Wait until somebody connects, and return the connection.

        Returns None when the container has ended before that, or it is not wanted any
        more. What it prints meanwhile is kept in `said`.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(attached, select.POLLIN)
        while not unwanted():
            ready = [descriptor for descriptor, _ in poll.poll(_TURN)]
            if self._socket.fileno() in ready:
                connection, _ = self._socket.accept()
                return connection
            if ready:
                _, data = attached.frame(1 << 16)
                if not data:
                    return None
                said.add(data)
        return None

    def close(self) -> None:
        """Remove the folder; a connection that was made stays."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._socket.close()
                shutil.rmtree(self._outer, ignore_errors=True)
