"""What belongs to a run: its future, plan and failure, the events observers get.

The event types are new and may still change until they are declared stable.
"""

from __future__ import annotations

from entangle._run.future import RunFuture
from entangle._run.plan import Plan
from entangle._run.report import failure_report
from entangle._seam.events import (
    Event,
    NodeEnded,
    NodeEvent,
    NodeOutput,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle._seam.planned import PlannedTask

__all__ = [
    "Event",
    "NodeEnded",
    "NodeEvent",
    "NodeOutput",
    "NodeStarted",
    "Plan",
    "PlannedTask",
    "RunEnded",
    "RunFuture",
    "RunStarted",
    "failure_report",
]
