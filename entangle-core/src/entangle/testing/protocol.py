"""The part of the suite about starts, ends, deaths and output."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from entangle.backend import ForeignExecutor
from entangle.errors import (
    ProcessTerminatedException,
)
from entangle.task import task

from .base import Suite
from .bodies import (
    enter_and_wait,
    heartbeat,
    size,
    squared,
    still,
    touch,
    wait_for_file,
)
from .fakes import RecordedCall

if TYPE_CHECKING:
    from pathlib import Path

    from entangle.backend import Capabilities, Executor


HOWS = ("already done", "killed", "abandoned", "cannot kill", "unconfirmed")


class ProtocolSuite(Suite):
    """What an executor tells of its calls, and when."""

    def test_one_end_and_nothing_after_it(self, executor: Executor) -> None:
        """Started at most once, before the end; one end; then silence."""

        def fail() -> None:
            raise ValueError

        bodies = (lambda: 1, fail)
        calls = [self.begin(executor, bodies[number % 2]) for number in range(20)]
        for number, call in enumerate(calls):
            end = call.end(self.patience)
            assert end.kind == ("failed" if number % 2 else "succeeded"), end
        executor.shutdown()
        for call in calls:
            kinds = [report.kind for report in call.reports]
            assert kinds.count("started") <= 1, kinds
            assert len(call.ends()) == 1, kinds
            assert kinds[-1] in {"succeeded", "failed"}, kinds

    def test_starts_are_told_as_declared(
        self, executor: Executor, capabilities: Capabilities, folder: Path | None
    ) -> None:
        """With `started`, a start is told while the body runs, with a true time."""
        if not capabilities.started or not capabilities.concurrent or folder is None:
            pytest.skip("not declared, or not to be seen")
        gate = str(folder / "gate")
        before = time.monotonic()
        call = self.begin(executor, wait_for_file, gate, self.patience)
        try:
            self.until(call.has_started, "a start was told while the body ran")
            assert not call.ends()
        finally:
            touch(gate)
        assert call.end(self.patience).detail == "there"
        told = [report.kind for report in call.reports].count("started")
        assert told == 1, "a start was told again"
        at = next(each.detail for each in call.reports if each.kind == "started")
        if at is not None:
            assert before - 1 <= at <= time.monotonic(), (
                "time.monotonic of this machine"
            )

    def test_starts_are_not_told_too_early(
        self, executor: Executor, capabilities: Capabilities, folder: Path | None
    ) -> None:
        """With `started`, no call that only waits for its turn has started."""
        if not capabilities.started or not capabilities.concurrent or folder is None:
            pytest.skip("not declared, or not to be seen")
        entered, gate = str(folder / "entered"), str(folder / "gate")
        # More than fit into most places, none of which leaves before it is looked at.
        calls = [
            self.begin(executor, enter_and_wait, entered, gate, 2 * self.patience)
            for _ in range(min(self.calls_at_once, 40))
        ]
        try:
            self.until(
                lambda: 0 < sum(map(RecordedCall.has_started, calls)) == size(entered),
                "as many calls have started as have entered their bodies",
            )
        finally:
            touch(gate)
        for call in calls:
            assert call.end(self.patience).kind == "succeeded"

    def test_ending_a_call_that_is_over(self, executor: Executor) -> None:
        """It is ignored: the end was told."""
        call = self.begin(executor, lambda: 1)
        call.end(self.patience)
        executor.cancel(call, 1.0)
        executor.cancel(call, 1.0)
        assert self.run(executor, lambda: 2) == 2
        assert [end.kind for end in call.ends()] == ["succeeded"]

    def test_cancel_tells_the_truth(
        self, executor: Executor, capabilities: Capabilities, folder: Path | None
    ) -> None:
        """'killed' is said of what runs no more, and by who declares `kill`."""
        if not capabilities.concurrent:
            pytest.skip("a call is over when it was started")
        if folder is None:
            pytest.skip("its calls can't be looked at")
        beat, stop = str(folder / "beat"), str(folder / "stop")
        call = self.begin(executor, heartbeat, beat, stop, self.patience)
        try:
            self.until(lambda: size(beat) > 2, "the body runs")
            executor.cancel(call, self.patience)
            end = call.end(self.patience)
            assert end.kind == "cancelled", end
            assert end.detail in HOWS, f"unknown word {end.detail!r}"
            if capabilities.kill:
                assert end.detail == "killed", f"declares kill, and said {end.detail!r}"
                length = size(beat)
                time.sleep(0.2)  # several beats long
                assert size(beat) == length, "said 'killed' of a body that runs on"
            else:
                # It may have ended it all the same; what it says must be so.
                assert end.detail in {"abandoned", "cannot kill", "killed"}
            executor.cancel(call, 0.0)
            assert len(call.ends()) == 1
        finally:
            touch(stop)
            self.until(lambda: still(beat), "the body is over")
        assert self.run(executor, lambda: 1) == 1

    def test_a_call_that_starts_processes_is_ended_whole(
        self,
        executor: Executor,
        capabilities: Capabilities,
        folder: Path | None,
        apart: bool,
    ) -> None:
        """With `kill`, descendants end too: also in a session of their own."""
        if not capabilities.kill or folder is None or not apart:
            pytest.skip("not declared, or not to be seen")
        beat, stop = str(folder / "beat"), str(folder / "stop")

        def parent(beat: str, stop: str, seconds: float) -> None:
            import subprocess

            code = (
                "import os, sys, time\n"
                "end = time.monotonic() + float(sys.argv[3])\n"
                "while time.monotonic() < end and not os.path.exists(sys.argv[2]):\n"
                "    open(sys.argv[1], 'a').write('.')\n"
                "    time.sleep(0.01)\n"
            )
            command = [sys.executable, "-c", code, beat, stop, str(seconds)]
            subprocess.run(command, start_new_session=True, check=True)  # noqa: S603 - its own code

        call = self.begin(executor, parent, beat, stop, self.patience)
        try:
            self.until(lambda: size(beat) > 2, "the descendant runs")
            executor.cancel(call, self.patience)
            assert call.end(self.patience).detail == "killed"
            self.until(lambda: still(beat), "the descendant is ended")
        finally:
            touch(stop)

    def test_many_calls_at_once(self, executor: Executor) -> None:
        """All end, each with its own value, given from several threads."""
        calls: dict[int, RecordedCall] = {}

        def give(numbers: range) -> None:
            for number in numbers:
                calls[number] = self.begin(executor, squared, number)

        share = self.calls_at_once // 4
        givers = [
            threading.Thread(target=give, args=(range(share * n, share * (n + 1)),))
            for n in range(4)
        ]
        for giver in givers:
            giver.start()
        for giver in givers:
            giver.join()
        assert len(calls) == 4 * share
        for number, call in calls.items():
            assert call.end(self.patience * 2).detail == number * number

    def test_calls_run_at_once_as_declared(
        self, executor: Executor, capabilities: Capabilities, folder: Path | None
    ) -> None:
        """With `concurrent`, one call may wait for what another does."""
        if not capabilities.concurrent or folder is None:
            pytest.skip("not declared, or not to be seen")
        path = str(folder / "met")
        first = self.begin(executor, wait_for_file, path, self.patience)
        second = self.begin(executor, touch, path)
        assert second.end(self.patience).kind == "succeeded"
        assert first.end(self.patience).detail == "there"

    def test_the_death_of_a_worker(self, executor: Executor, apart: bool) -> None:
        """A call whose process ends is an error soon, and the next one runs."""
        if not apart:
            pytest.skip("its calls have no process of their own")
        if isinstance(executor, ForeignExecutor):
            pytest.skip("foreign executors may break for good")

        def leave() -> None:
            os._exit(7)

        def killed() -> None:
            import signal

            os.kill(os.getpid(), signal.SIGKILL)

        for body in (leave, killed):
            with pytest.raises(ProcessTerminatedException):
                self.run(executor, body)
            assert self.run(executor, lambda: 1) == 1

    def test_output_arrives_as_declared(
        self,
        executor: Executor,
        capabilities: Capabilities,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """With `output`: whole lines, in order, all of it before the value."""
        if not capabilities.output:
            pytest.skip("not declared")

        def speak() -> int:
            for number in range(2000):
                print(f"line {number}")
            print("to stderr", file=sys.stderr)
            print("no newline at the end", end="")
            return 1

        # What is printed before is not the task's.
        capfd.readouterr()
        assert task(executor=executor)(speak)()() == 1
        out, err = capfd.readouterr()
        # It may have to end a line of somebody else's first.
        lines = out.removeprefix("\n").splitlines()
        assert lines[:2000] == [f"line {number}" for number in range(2000)]
        assert lines[2000:] == ["no newline at the end"]
        assert "to stderr" in err.splitlines()
