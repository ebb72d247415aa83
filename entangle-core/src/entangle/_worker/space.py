"""What a body asks of the process that owns its worker: shared memory, above all."""

from __future__ import annotations

import _pickle as pickle
import os
import sys

from . import frames, pieces
from .asking import Asker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Union

    from .main import Worker
    from .memory import Grant

# What is asked for.
WRITE, SHARE, FIND, FAILED, TRACEPARENT, SPAN = range(6)


class Space:
    """A worker's requests. Thread-safe.

    Attributes:
        shares: Whether there is memory that is shared with the other side.
        heard: Whether the other side takes what is told of calls.
    """

    def __init__(self, worker: Worker) -> None:
        """Speak over a worker's stream."""
        self._worker = worker
        self.shares = True
        self.heard = True
        self._asker = Asker(worker, frames.SPACE)
        self.answered = self._asker.answered

    def ask(self, nbytes: int) -> Union[Grant, None]:
        """Ask for a block to write to.

        Returns:
            It; None where shared memory can't be used.

        Raises:
            MemoryError: there is not so much.
        """
        answer = self._request(WRITE, nbytes) if self.shares else None
        return None if answer is None else _grant(answer)

    def share(self, nbytes: int) -> Union[tuple[str, Grant], None]:
        """Ask for a block that lives until the run ends, and is found by its name.

        Returns, raises: as `ask`.
        """
        answer = self._request(SHARE, nbytes) if self.shares else None
        return None if answer is None else (answer[3], _grant(answer))

    def find(self, name: str) -> Union[tuple[int, Grant], None]:
        """Ask for a block of the run by its name, and its size; None if there is none."""
        answer = self._request(FIND, name) if self.shares else None
        return None if answer is None else (answer[4], _grant(answer))

    def traceparent(self) -> Union[str, None]:
        """Ask by what name the running call is traced; None if it is not."""
        answer = self._request(TRACEPARENT, None) if self.heard else None
        return None if answer is None else answer[0]

    def span(
        self, name: str, started: float, ended: float, attributes: Mapping[str, Any]
    ) -> None:
        """Tell of a part of the running call."""
        if not self.heard:
            return
        body = pickle.dumps((0, SPAN, (name, started, ended, dict(attributes))), 4)
        self._worker.send(frames.pack(frames.SPACE, body))

    def _request(self, what: int, detail: Any) -> Any:
        """Wait for the answer to a request, while a body runs."""
        if pieces.released:
            # Or a body that makes one array after the other would keep them all.
            self.tell_released()
        answer = self._asker.ask(lambda number: pickle.dumps((number, what, detail), 4))
        if type(answer) is str:
            raise MemoryError(answer)
        return answer

    def unusable(self, why: str) -> None:
        """Tell that shared memory that was granted could not be used."""
        body = pickle.dumps((0, FAILED, why), 4)
        self._worker.send(frames.pack(frames.SPACE, body))

    def tell_released(self) -> None:
        """Tell which references to shared memory have ended here.

        While there are child processes, which may have mappings of their own, it is
        put off: to their end, or to this process's. Thread-safe.
        """
        if not has_children():
            released = pieces.released
            numbers: list[int] = []
            try:
                while True:
                    numbers.append(released.popleft())
            except IndexError:
                pass  # all of them, or another thread is at it
            body = pickle.dumps(numbers, 4)
            self._worker.send(frames.pack(frames.RELEASED, body))


def _grant(answer: Any) -> Grant:
    from . import memory

    place, nbytes, size = answer[:3]
    return memory.Grant(pieces.Place(*place), nbytes, size)


def has_children() -> bool:
    """Tell whether this process has children, dead ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def seal() -> None:
    """See to it that what is about to be sent doesn't change any more.

    Raises:
        OSError: it can't be seen to.
    """
    memory = sys.modules.get("entangle._worker.memory")
    # A thread may be importing it: then nothing was made yet.
    if memory is not None and hasattr(memory, "seal"):
        memory.seal()


def unmap(frame: frames.Frame) -> None:
    """Let go of files of shared memory that nobody uses any more."""
    memory = sys.modules.get("entangle._worker.memory")
    if memory is not None and hasattr(memory, "forget"):  # as above
        memory.forget(pickle.loads(frame.body))
