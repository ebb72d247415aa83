"""What belongs to a run: its future, its plan, what happens in it, and who sees it."""

from __future__ import annotations

from entangle._run.future import RunFuture
from entangle._run.observing import observe
from entangle._run.plan import Plan
from entangle._run.spans import span, traceparent
from entangle._seam.events import (
    EVENTS_VERSION,
    Event,
    NodeAdded,
    NodeEnded,
    NodeEvent,
    NodeOutput,
    NodeRetried,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle._seam.planned import PlannedTask

__all__ = [
    "EVENTS_VERSION",
    "Event",
    "NodeAdded",
    "NodeEnded",
    "NodeEvent",
    "NodeOutput",
    "NodeRetried",
    "NodeSpan",
    "NodeStarted",
    "Plan",
    "PlannedTask",
    "RunEnded",
    "RunFuture",
    "RunStarted",
    "observe",
    "span",
    "traceparent",
]
