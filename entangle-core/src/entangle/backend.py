"""The seam for places where calls run: what a backend is made of.

`ThreadExecutor`, `ProcessExecutor` and `InlineExecutor` are the places that core has,
as executors that may be used by themselves or given to ``@task(executor=...)``;
`ForeignExecutor` wraps any `concurrent.futures.Executor`.

A backend is a subclass of `Executor`, of which `infrastructure` makes a decorator;
`pack_call`, `run_payload` and `deliver` carry a call to another process and back. A
subclass of `Source` supplies the argument of a function, wherever that runs; `source`
makes a decorator of it. See
"Write a backend" in the documentation.

`JobExecutor` is for places that take a job and are asked after it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.supplied import Asked
from entangle._seam.call import Call
from entangle._seam.executor import Capabilities, Executor
from entangle._seam.making import context, infrastructure, source
from entangle._seam.payload import deliver, pack_call, run_payload
from entangle._seam.source import Rate, Source

if TYPE_CHECKING:
    from entangle._jobs.directory import DirectoryStore
    from entangle._jobs.executor import JobExecutor
    from entangle._jobs.job import FoundJob, Job, JobState, LogPiece
    from entangle._jobs.program import HANDLER as JOB_HANDLER
    from entangle._jobs.program import archive as job_archive
    from entangle._jobs.rhythm import Pace
    from entangle._jobs.session import owner_tags
    from entangle._jobs.store import Store, StoredObject
    from entangle._jobs.sweeping import objects as store_leftovers
    from entangle._remote.command import CommandStream
    from entangle._remote.stream import Ended, Stream
    from entangle._run.executors import (
        InlineExecutor,
        ProcessExecutor,
        ThreadExecutor,
    )
    from entangle._run.foreign import ForeignExecutor
    from entangle._run.stream_executor import StreamExecutor

__all__ = [
    "JOB_HANDLER",
    "Asked",
    "Call",
    "Capabilities",
    "CommandStream",
    "DirectoryStore",
    "Ended",
    "Executor",
    "ForeignExecutor",
    "FoundJob",
    "InlineExecutor",
    "Job",
    "JobExecutor",
    "JobState",
    "LogPiece",
    "Pace",
    "ProcessExecutor",
    "Rate",
    "Source",
    "Store",
    "StoredObject",
    "Stream",
    "StreamExecutor",
    "ThreadExecutor",
    "context",
    "deliver",
    "infrastructure",
    "job_archive",
    "owner_tags",
    "pack_call",
    "run_payload",
    "source",
    "store_leftovers",
]

_LATER: Final = {
    "CommandStream": "_remote.command",
    "DirectoryStore": "_jobs.directory",
    "Ended": "_remote.stream",
    "ForeignExecutor": "_run.foreign",
    "FoundJob": "_jobs.job",
    "InlineExecutor": "_run.executors",
    "JOB_HANDLER": "_jobs.program:HANDLER",
    "Job": "_jobs.job",
    "JobExecutor": "_jobs.executor",
    "JobState": "_jobs.job",
    "LogPiece": "_jobs.job",
    "Pace": "_jobs.rhythm",
    "ProcessExecutor": "_run.executors",
    "Store": "_jobs.store",
    "StoredObject": "_jobs.store",
    "Stream": "_remote.stream",
    "StreamExecutor": "_run.stream_executor",
    "ThreadExecutor": "_run.executors",
    "job_archive": "_jobs.program:archive",
    "owner_tags": "_jobs.session",
    "store_leftovers": "_jobs.sweeping:objects",
}


def __getattr__(name: str) -> Any:
    """Import what the far side of a place has no use for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, known = _LATER[name].partition(":")
    return getattr(import_module(f"entangle.{module}"), known or name)
