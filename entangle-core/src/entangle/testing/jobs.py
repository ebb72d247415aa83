"""The suite for places that take jobs: what outlives a client, and what is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from entangle.errors import ProcessTerminatedException, UntrustedResultError

from .bodies import heartbeat, same, size, speak_and_wait, still, touch
from .client import STEPS
from .conformance import ExecutorConformance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from entangle.backend import JobExecutor


class JobConformance(ExecutorConformance):
    """Inherit it, in a class whose name begins with Test, and give `client`.

    Override the fixture ``client`` with a program that binds ``executor`` to a new
    executor of the place, in whatever process it is run: the suite runs it in this
    one, and in others that it kills. It should be the place's only user meanwhile.

    For a place with a file system of its own override ``folder``, too, with one that
    gives None.

    Attributes:
        patience: Seconds that anything which must happen may take.
        most_bytes: The largest payload that is sent both ways.
        calls_at_once: How many calls are given to it at once.
        lifetime: Seconds that a job lives whose end by itself is awaited.
    """

    lifetime: float = 3.0

    @pytest.fixture
    def client(self) -> str:
        """The source of a program that binds ``executor``."""
        raise NotImplementedError("give the suite a client: override this fixture")

    @pytest.fixture
    def executor(self, client: str) -> Iterator[JobExecutor]:
        """A new executor for each test, shut down at its end."""
        with self.another(client) as executor:
            yield executor

    def another(self, client: str) -> JobExecutor:
        """Return another executor of the same place."""
        names: dict[str, Any] = {}
        exec(client, names)  # noqa: S102 - the author's own
        made: JobExecutor = names["executor"]
        return made

    def left(self, executor: JobExecutor) -> list[str]:
        """Return what is in the place and its store, whosever it is."""
        store = executor.store()
        found = [f"job {job.handle}" for job in executor.find()]
        if store is not None:
            found += [f"object {each.key}" for each in store.list("entangle/")]
        return found

    def sweep(self, executor: JobExecutor) -> None:
        """Remove what clients that are gone have left, as ``entangle sweep`` does.

        What is told to end may be found once more.
        """
        patience = time.monotonic() + self.patience
        while leftovers := list(executor.leftovers()):
            for leftover in leftovers:
                leftover.remove()
            names = [f"{each.kind} {each.name}" for each in leftovers]
            assert time.monotonic() < patience, f"can't be removed: {names}"

    def killed(
        self, client: str, step: str, folder: Path | None, lifetime: float
    ) -> None:
        """Run a client until it kills itself at some step."""
        command = [sys.executable, "-m", "entangle.testing.client", client, step]
        command += [str(lifetime), str(folder or "")]
        with subprocess.Popen(command) as process:  # noqa: S603 - its own code
            try:
                assert process.wait(self.patience) == -9, f"it has not died at: {step}"
            finally:
                process.kill()

    def test_a_job_is_found_as_long_as_it_exists(
        self, executor: JobExecutor, client: str, folder: Path | None
    ) -> None:
        """By any client; it is no leftover while its own is there."""
        stop = "" if folder is None else str(folder / "stop")
        beat = "" if folder is None else str(folder / "beat")
        call = self.begin(executor, heartbeat, beat or "beat", stop, 60.0)
        other = self.another(client)
        try:
            self.until(lambda: len(list(other.find())) == 1, "the job is found")
            (found,) = other.find()
            assert found.tags["entangle-owner"].split(".")[1] == str(os.getpid())
            assert found.age >= 0
            assert other.poll([found.handle])[found.handle].state != "gone"
            assert not list(other.leftovers())
        finally:
            executor.cancel(call, self.patience)
            call.end(self.patience)
        executor.shutdown()
        self.until(lambda: not self.left(other), "nothing is left")
        other.shutdown()

    def test_another_client_may_end_a_job(
        self, executor: JobExecutor, client: str, folder: Path | None
    ) -> None:
        """A handle is all that is needed; whose it was hears of its end."""
        stop = "" if folder is None else str(folder / "stop")
        beat = "beat" if folder is None else str(folder / "beat")
        call = self.begin(executor, heartbeat, beat, stop, 60.0)
        other = self.another(client)
        self.until(call.has_started, "the job runs")
        (found,) = other.find()
        other.delete(str(found.handle), over=False)
        with pytest.raises(ProcessTerminatedException) as caught:
            raise call.end(self.patience).detail
        assert found.handle in str(caught.value)
        other.delete(found.handle, over=False)  # it is gone: no error
        state = other.poll([found.handle]).get(found.handle)
        assert state is None or state.state in {"gone", "ended"}
        other.shutdown()

    def test_output_is_told_while_the_job_runs(
        self, executor: JobExecutor, folder: Path | None
    ) -> None:
        """With `output`: by the place's log, and once, though the answer has it, too."""
        if not executor.capabilities.output:
            pytest.skip("not declared")
        if folder is None:
            pytest.skip("its jobs can't be told to go on")
        stop = str(folder / "stop")
        call = self.begin(executor, speak_and_wait, stop, self.patience)
        try:
            self.until(
                lambda: (
                    call.text("stdout") == call.text("stderr").replace("err", "out")
                    and "to stdout" in call.text("stdout")
                ),
                "what it prints is told",
            )
            assert not call.ends(), "its output came with its end"
        finally:
            touch(stop)
        assert call.end(self.patience).detail == "over"
        assert call.text("stdout") == "to stdout\nafter that\n"
        assert call.text("stderr") == "to stderr\n"

    def test_a_poisoned_result_is_rejected_unread(
        self, executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the job has not signed is an error that names the job."""
        poison = b"cos\nsystem\n(S'true'\ntR."
        create = executor.create

        def fetched(*_: str) -> bytes:
            return poison

        def answered(job: Any) -> Any:
            made = create(job)
            return made if isinstance(made, str) else poison

        monkeypatch.setattr(executor, "fetch", fetched)
        monkeypatch.setattr(executor, "create", answered)
        with pytest.raises(UntrustedResultError, match="rejected"):
            self.run(executor, same, 1)

    def test_answers_are_not_taken_for_others(
        self, executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer of one job is none of another, though of the same run."""
        first: list[bytes] = []
        fetch = executor.fetch

        def replayed(handle: str, key: str) -> bytes:
            first.append(fetch(handle, key))
            return first[0]

        monkeypatch.setattr(executor, "fetch", replayed)
        if self.run(executor, same, 1) == 1 and not first:
            pytest.skip("its answers come with its jobs")
        with pytest.raises(UntrustedResultError):
            self.run(executor, same, 2)

    @pytest.mark.parametrize("step", STEPS)
    def test_a_client_killed_at_each_step(
        self, client: str, step: str, folder: Path | None
    ) -> None:
        """After a sweep nothing is left, whatever its client was doing."""
        self.killed(client, step, folder, 3600.0)
        with self.another(client) as other:
            runs = step in {"after create", "running"} and folder is not None
            beat = "" if folder is None else str(folder / "beat")
            if runs:
                self.until(lambda: size(beat) > 2, "the job runs on without its client")
            self.sweep(other)
            assert not self.left(other), "found by no sweep"
            if runs:
                self.until(lambda: still(beat), "the job is ended")

    def test_a_job_ends_at_its_expiry(self, client: str, folder: Path | None) -> None:
        """Though its client is gone, and nobody sweeps."""
        if folder is None:
            pytest.skip("its jobs can't be looked at")
        beat = str(folder / "beat")
        try:
            self.killed(client, "running", folder, self.lifetime)
            assert size(beat) > 0
            self.until(lambda: still(beat), "the job has ended by itself")
        finally:
            touch(beat + ".stop")
        with self.another(client) as other:
            self.sweep(other)
            assert not self.left(other)
