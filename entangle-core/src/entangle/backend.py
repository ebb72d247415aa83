"""The seam for places where calls run: what a backend is made of.

`ThreadExecutor`, `ProcessExecutor` and `InlineExecutor` are the places that core has,
as executors that may be used by themselves or given to ``@task(executor=...)``.
"""

from __future__ import annotations

from entangle._run.executors import InlineExecutor, ProcessExecutor, ThreadExecutor
from entangle._seam.call import Call
from entangle._seam.executor import Capabilities, Executor
from entangle._seam.making import context, infrastructure

__all__ = [
    "Call",
    "Capabilities",
    "Executor",
    "InlineExecutor",
    "ProcessExecutor",
    "ThreadExecutor",
    "context",
    "infrastructure",
]
