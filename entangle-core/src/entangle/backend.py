"""The seam for places where calls run: what a backend is made of.

`ThreadExecutor`, `ProcessExecutor` and `InlineExecutor` are the places that core has,
as executors that may be used by themselves or given to ``@task(executor=...)``;
`ForeignExecutor` wraps any `concurrent.futures.Executor`.

A backend is a subclass of `Executor`, of which `infrastructure` makes a decorator;
`pack_call`, `run_payload` and `deliver` carry a call to another process and back. A
subclass of `Source` supplies the argument of a function, wherever that runs; `source`
makes a decorator of it. See
"Write a backend" in the documentation.
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
    "Asked",
    "Call",
    "Capabilities",
    "CommandStream",
    "Ended",
    "Executor",
    "ForeignExecutor",
    "InlineExecutor",
    "ProcessExecutor",
    "Rate",
    "Source",
    "Stream",
    "StreamExecutor",
    "ThreadExecutor",
    "context",
    "deliver",
    "infrastructure",
    "pack_call",
    "run_payload",
    "source",
]

_LATER: Final = {
    "CommandStream": "_remote.command",
    "Ended": "_remote.stream",
    "ForeignExecutor": "_run.foreign",
    "InlineExecutor": "_run.executors",
    "ProcessExecutor": "_run.executors",
    "Stream": "_remote.stream",
    "StreamExecutor": "_run.stream_executor",
    "ThreadExecutor": "_run.executors",
}


def __getattr__(name: str) -> Any:
    """Import what needs the run layer: the far side of a place has no use for it."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"entangle.{_LATER[name]}"), name)
