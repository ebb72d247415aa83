"""What belongs to a run: its future, plan and failure, its events and who sees them."""

from __future__ import annotations

from entangle._run.future import RunFuture
from entangle._run.observing import observe
from entangle._run.plan import Plan
from entangle._run.report import failure_report
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
from entangle._see.log import logged as log
from entangle._see.progress import progress
from entangle._see.trace import trace

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
    "failure_report",
    "log",
    "observe",
    "progress",
    "span",
    "trace",
    "traceparent",
]
