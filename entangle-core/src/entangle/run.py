"""What belongs to a run: its future, plan, budget and failure, its events and who sees them."""

from __future__ import annotations

from entangle._run.budget import Budget, budget
from entangle._run.future import RunFuture
from entangle._run.observing import observe
from entangle._run.plan import Plan
from entangle._run.reporting.report import failure_report
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
from entangle._seam.planned import PlannedTask, Price
from entangle._see.log import logged as log
from entangle._see.progress import progress
from entangle._see.trace import trace

__all__ = [
    "EVENTS_VERSION",
    "Budget",
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
    "Price",
    "RunEnded",
    "RunFuture",
    "RunStarted",
    "budget",
    "failure_report",
    "log",
    "observe",
    "progress",
    "span",
    "trace",
    "traceparent",
]
