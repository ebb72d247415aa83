"""What a worker asks, and tells, of how its running call is seen."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final, Protocol

from entangle._worker import frames, space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .jobs import Job

SEEN: Final = frozenset((space.TRACEPARENT, space.SPAN))


class Asking(Protocol):
    """A worker, wherever it is."""

    @property
    def outstanding(self) -> Sequence[Job]:
        """The calls that it was given, the running one first."""
        ...

    def send(self, pieces: list[Any]) -> None:
        """Send one frame."""


def seen(worker: Asking, request: int, what: int, detail: Any) -> None:
    """Tell a call by what name it is traced, or pass on a part of it.

    Args:
        worker: Whose call it is.
        request: The number of the request.
        what: One of `SEEN`.
        detail: The part: name, begin, end, attributes.
    """
    known = worker.outstanding[0].call.seen() if worker.outstanding else None
    if what == space.SPAN:
        if known is not None:
            known.span(*detail)
        return
    name = None if known is None else known.traceparent()
    answer = request, None if name is None else (name,)
    worker.send(frames.pack(frames.GRANTED, pickle.dumps(answer, 4)))
