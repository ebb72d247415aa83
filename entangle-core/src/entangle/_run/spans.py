"""What a running call can tell of itself to those who observe its run."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from entangle._seam.events import NodeSpan
from entangle._worker import main as worker

from . import current

if TYPE_CHECKING:
    from .observers import Watch

    Attributes = dict[str, str | int | float | bool]


_PLAIN: Final = frozenset((str, int, float, bool))


class Seen:
    """A running call, as observers know it. Thread-safe."""

    __slots__ = ("_watch", "attempt", "name", "node", "run")

    def __init__(self, watch: Watch, node: int, name: str, attempt: int) -> None:
        self._watch = watch
        self.run = watch.run
        self.node = node
        self.name = name
        self.attempt = attempt

    def traceparent(self) -> str | None:
        """Return what stands for the call in the header of that name."""
        trace = self._watch.trace
        if not trace:
            return None
        return f"00-{trace}-{span_id(trace, self.node, self.attempt)}-01"

    def span(
        self, name: str, started: float, ended: float, attributes: Attributes
    ) -> None:
        """Tell of a part of the call."""
        self._watch.span(
            NodeSpan(
                self.run,
                ended,
                self.node,
                self.name,
                self.attempt,
                name,
                started,
                attributes,
            )
        )


def span_id(trace: str, node: int, attempt: int) -> str:
    """Return the identifier of an attempt in a trace: 16 hexadecimal digits, not all 0."""
    # Imported here: few runs are traced.
    import hashlib

    text = f"{trace}/{node}/{attempt}".encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def traceparent() -> str | None:
    """Return the W3C ``traceparent`` of the running call.

    What the call sends elsewhere can carry it as the header of that name, so that
    traces of other systems name the call that caused them. It is good in threads, in
    worker processes of this machine and in trusted places at the end of a stream; each
    attempt of a node has its own.

    Returns:
        ``00-``, 32 hexadecimal digits for the run, 16 for the attempt, ``-01``; None
        where nobody traces the run, or no task is running.
    """
    scope = current.scope.get()
    if scope is not None and scope.seen is not None:
        return scope.seen.traceparent()
    if worker.current is not None and worker.current.running:
        answer: str | None = worker.current.space.traceparent()
        return answer
    return None


def span(
    name: str,
    started: float,
    ended: float | None = None,
    **attributes: str | float | bool,
) -> None:
    """Tell of a part of the running call: it becomes a slice of the trace.

    Where nobody observes the run, or no task is running, nothing happens.

    Args:
        name: What the part is called.
        started: When it began, in seconds since the epoch, as `time.time` says.
        ended: When it ended; now where left out.
        **attributes: What else is to be known of it; what is no text, finite number or
            truth value as its text.

    Raises:
        TypeError, ValueError: `started` or `ended` is no moment.
    """
    end = time.time() if ended is None else ended
    if not (math.isfinite(started) and math.isfinite(end)):
        raise ValueError(f"span {name!r}: from {started} to {end} is no time")
    known: Attributes = {
        key: value if _is_plain(value) else str(value)
        for key, value in attributes.items()
    }
    scope = current.scope.get()
    if scope is not None and scope.seen is not None:
        scope.seen.span(name, started, end, known)
    elif worker.current is not None and worker.current.running:
        worker.current.space.span(name, started, end, known)


def _is_plain(value: object) -> bool:
    # JSON has no other numbers.
    return type(value) in _PLAIN and (type(value) is not float or math.isfinite(value))
