"""The kit for authors of backends: a suite that judges executors, fakes, guards.

A backend's own tests inherit the suite and give it one fixture::

    import pytest
    from entangle.testing import ExecutorConformance

    class TestOnprem(ExecutorConformance):
        @pytest.fixture
        def executor(self):
            with OnpremExecutor(host="queue.example") as executor:
                yield executor

Installed backends are judged from the command line:
``pytest --entangle-target='onprem(host="queue.example")'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conformance import ExecutorConformance
    from .fakes import FakeExecutor, ManualClock, RecordedCall
    from .faulty_stream import FaultyStream
    from .jobs import JobConformance
    from .leaks import Ledger
    from .spool import SpoolExecutor
    from .stream_conformance import StreamConformance

__all__ = [
    "ExecutorConformance",
    "FakeExecutor",
    "FaultyStream",
    "JobConformance",
    "Ledger",
    "ManualClock",
    "RecordedCall",
    "SpoolExecutor",
    "StreamConformance",
]

_WHERE = {
    "ExecutorConformance": "conformance",
    "FakeExecutor": "fakes",
    "FaultyStream": "faulty_stream",
    "JobConformance": "jobs",
    "Ledger": "leaks",
    "ManualClock": "fakes",
    "RecordedCall": "fakes",
    "SpoolExecutor": "spool",
    "StreamConformance": "stream_conformance",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: fakes need no pytest."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Conformance"):
        import pytest

        for part in (
            "base",
            "values",
            "protocol",
            "places",
            "jobs",
            "stream_conformance",
        ):
            pytest.register_assert_rewrite(f"{__name__}.{part}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
