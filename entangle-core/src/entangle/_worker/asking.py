"""What a worker asks its caller for while a body runs, and waits for."""

from __future__ import annotations

import _pickle as pickle
import _thread
import os

from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any

    from .main import Worker
else:
    # As in `zygote`.
    import _signal

_LOST = 71  # exit code, as `main.BROKEN_STREAM`


class Asker:
    """Sends requests of one kind, one after the other. Thread-safe."""

    def __init__(self, worker: Worker, kind: int) -> None:
        """Ask over a worker's stream, by frames of some kind."""
        self._worker = worker
        self._kind = kind
        self._asking = _thread.allocate_lock()
        self._asked = 0  # the number of the last request
        self._answer: tuple[int, Any] = (0, None)

    def ask(self, written: Callable[[int], bytes]) -> Any:
        """Send a request and wait for the answer.

        Args:
            written: Returns the request under a number.
        """
        with self._asking:
            self._asked += 1
            # A handler that raises in between would lose a part of the stream.
            before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
            try:
                self._worker.send(frames.pack(self._kind, written(self._asked)))
                self._worker.await_frame(self._has_answer)
            except (EOFError, OSError, frames.ProtocolError):
                os._exit(_LOST)
            finally:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
            _, answer = self._answer
            self._answer = (0, None)
        return answer

    def _has_answer(self) -> bool:
        return self._answer[0] == self._asked

    def answered(self, frame: frames.Frame) -> None:
        """Take the answer; nobody waits for any other than the last."""
        self._answer = pickle.loads(frame.body)
