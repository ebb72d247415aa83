"""What belongs to a run: its future, plan and budget, the events that observers get.

The event types are new and may still change until they are declared stable.
"""

from __future__ import annotations

from entangle._run.budget import Budget, budget
from entangle._run.future import RunFuture
from entangle._run.plan import Plan
from entangle._seam.events import (
    Event,
    NodeEnded,
    NodeEvent,
    NodeOutput,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle._seam.planned import PlannedTask, Price

__all__ = [
    "Budget",
    "Event",
    "NodeEnded",
    "NodeEvent",
    "NodeOutput",
    "NodeStarted",
    "Plan",
    "PlannedTask",
    "Price",
    "RunEnded",
    "RunFuture",
    "RunStarted",
    "budget",
]
