"""Stand-ins for authors' unit tests: calls, an executor, a clock."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from entangle.backend import Call, Capabilities, Executor

if TYPE_CHECKING:
    from collections.abc import Callable


class Report(NamedTuple):
    """One report that a call was given.

    Attributes:
        kind: ``'started'``, ``'output'``, ``'succeeded'``, ``'failed'`` or
            ``'cancelled'``.
        detail: What was reported: the moment, (stream, text), the value, the error,
            or how it was ended.
        thread: The thread that has reported it.
    """

    kind: str
    detail: Any
    thread: int


_ENDS = frozenset({"succeeded", "failed", "cancelled"})


class RecordedCall(Call):
    """A call that keeps all its reports, to be given to `Executor.start`.

    Thread-safe.

    Attributes:
        reports: All reports, in the order in which they came.
    """

    __slots__ = ("_over", "reports")

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(function, args, kwargs or None, wants_start=True)
        self.captures = True
        self.reports: list[Report] = []
        self._over = threading.Event()

    def started(self, at: float | None = None) -> None:
        self._keep("started", at)

    def output(self, stream: str, text: str) -> None:
        self._keep("output", (stream, text))

    def succeeded(self, value: Any) -> None:
        self._keep("succeeded", value)

    def failed(self, error: BaseException) -> None:
        self._keep("failed", error)

    def cancelled(self, how: str) -> None:
        self._keep("cancelled", how)

    def _keep(self, kind: str, detail: Any) -> None:
        self.reports.append(Report(kind, detail, threading.get_ident()))
        if kind in _ENDS:
            self._over.set()

    def end(self, seconds: float = 30.0) -> Report:
        """Wait for the call's end and return it.

        Raises:
            AssertionError: there was none in time.
        """
        assert self._over.wait(seconds), (
            f"{self.name} was given to the executor and nothing was heard of its end "
            f"for {seconds:g} s; it has reported {[each.kind for each in self.reports]}"
        )
        return self.ends()[0]

    def ends(self) -> list[Report]:
        """Return all reports of an end so far: there must never be more than one."""
        return [report for report in self.reports if report.kind in _ENDS]

    def has_started(self) -> bool:
        """Tell whether a start was reported."""
        return any(report.kind == "started" for report in self.reports)

    def text(self, stream: str) -> str:
        """Return all output that was reported of a stream."""
        printed = [each.detail for each in self.reports if each.kind == "output"]
        return "".join(text for name, text in printed if name == stream)


class FakeExecutor(Executor):
    """An executor that runs nothing: the test decides what becomes of each call.

    It declares everything, so that every option may be given to its tasks.

    Attributes:
        calls: The calls given to it and not yet over, in order.
        asked: The calls that were to be ended, each with the grace period.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kill=True, started=True, process=True, fresh=True, cpus=True, output=True
    )

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.asked: list[tuple[Call, float]] = []
        self._changed = threading.Condition()

    def start(self, call: Call) -> None:
        """Keep the call."""
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def cancel(self, call: Call, grace: float) -> None:
        """Note the wish, and say that the call was ended."""
        with self._changed:
            self.asked.append((call, grace))
            if call in self.calls:
                self.calls.remove(call)
            self._changed.notify_all()
        call.cancelled("killed")

    def next(self, seconds: float = 10.0) -> Call:
        """Wait for the next call and take it; its end is to be reported by the test.

        Raises:
            AssertionError: none came in time.
        """
        with self._changed:
            there = self._changed.wait_for(lambda: bool(self.calls), seconds)
            assert there, f"no call was given to the executor for {seconds:g} s"
            return self.calls.pop(0)


class ManualClock:
    """A clock that stands still until it is told to go on. Thread-safe.

    Give its `now` where code takes a function like `time.monotonic`.
    """

    def __init__(self, begin: float = 1000.0) -> None:
        self._now = begin
        self._changed = threading.Condition()

    def now(self) -> float:
        """Return the time in seconds."""
        with self._changed:
            return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever waits for a moment that has come."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        with self._changed:
            self._now += seconds
            self._changed.notify_all()

    def wait_until(self, moment: float, patience: float = 10.0) -> bool:
        """Block until the clock shows a moment; False after so many real seconds."""
        deadline = time.monotonic() + patience
        with self._changed:
            while self._now < moment:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return self._now >= moment
        return True
