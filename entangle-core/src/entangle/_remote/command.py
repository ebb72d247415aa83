"""A stream to the standard input and output of a command of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from typing import IO, TYPE_CHECKING

from .stream import Ended, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GOODBYE = 1.0  # seconds that it has to end when its input has ended
_LINES = 10  # of what it says on stderr


class CommandStream(Stream):
    """Starts a command and speaks over its standard input and output.

    For places that a program of this machine leads to: an interpreter of another
    version, `ssh`, `kubectl exec`. The command gets a session of its own, so that
    Ctrl-C at the terminal is the caller's alone. The last lines of its standard error
    are told if it ends unasked.

    Args:
        command: Program and arguments.
        env: Its environment; None for this process's.
        cwd: Its working directory; None for this process's.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603 - what the author says
            [*command],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=None if env is None else {**env},
            cwd=cwd,
            start_new_session=True,
            bufsize=0,
        )
        self._lock = threading.Lock()
        # Nobody may read from a descriptor that is another's by then.
        self._reading = threading.Lock()
        self._over = False
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._listener = threading.Thread(
            target=self._listen, name="entangle-stderr", daemon=True
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process id of the command."""
        return self._process.pid

    def descriptors(self) -> tuple[int, int]:
        """Return the pipes."""
        return _pipe(self._process.stdout).fileno(), _pipe(self._process.stdin).fileno()

    def read(self, size: int) -> bytes:
        """Return what has come."""
        with self._reading:
            return os.read(_pipe(self._process.stdout).fileno(), size)

    def write(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        left = memoryview(data)
        while left:
            left = left[os.write(_pipe(self._process.stdin).fileno(), left) :]

    def close(self) -> None:
        """End its input and wait for its end; what doesn't end soon is killed."""
        self._end(_GOODBYE)

    def kill(self) -> None:
        """End it.

        It is given a moment to end what it has started, also if it was stopped.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        self._end(_GOODBYE)

    def ended(self) -> Ended:
        """Return its exit code or signal, and its last lines on standard error."""
        try:
            code = self._process.wait(_GOODBYE)
        except subprocess.TimeoutExpired:
            return Ended(detail="it has closed its output")
        self._listener.join(_GOODBYE)
        detail = "\n".join(self._lines)
        if code < 0:
            return Ended(signal=-code, detail=detail)
        return Ended(exit_code=code, detail=detail)

    def _end(self, patience: float) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        process = self._process
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # A descendant that has escaped may hold them open.
        if self._reading.acquire(timeout=patience):
            _pipe(process.stdout).close()
            self._reading.release()
        self._listener.join(patience)
        if not self._listener.is_alive():
            _pipe(process.stderr).close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in _pipe(self._process.stderr):
                text = line.decode(errors="replace").rstrip()
                if text:
                    self._lines.append(text[:500])


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("all three were asked for")
    return pipe
