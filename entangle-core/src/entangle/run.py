"""What belongs to a run under way: its future."""

from __future__ import annotations

from entangle._run.future import RunFuture

__all__ = ["RunFuture"]
