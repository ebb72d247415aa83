"""What a worker asks, and tells, of how its running call is seen."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final

from entangle._worker import frames, space

if TYPE_CHECKING:
    from .worker import WorkerProcess

SEEN: Final = frozenset((space.TRACEPARENT, space.SPAN))


def seen(worker: WorkerProcess, request: int, what: int, detail: Any) -> None:
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
