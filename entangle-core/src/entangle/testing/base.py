"""What every part of the suite has: the executor, a folder, a leak guard."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from entangle.task import shutdown

from .bodies import (
    machine,
)
from .fakes import RecordedCall
from .leaks import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from entangle.backend import Capabilities, Executor


class Suite:
    """The fixtures and helpers of the suite's parts.

    Attributes:
        patience: Seconds that anything which must happen may take.
        most_bytes: The largest payload that is sent both ways.
        calls_at_once: How many calls are given to it at once.
    """

    patience: ClassVar[float] = 30.0
    most_bytes: ClassVar[int] = 100_000_000
    calls_at_once: ClassVar[int] = 100

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        """The executor to be judged: a new one for each test, shut down at its end."""
        raise NotImplementedError("give the suite an executor: override this fixture")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path | None:
        """A folder that the calls see under the same path; None if there is none.

        Override it for a place with a file system of its own. Tests that can look
        into a running call in no other way are skipped then.
        """
        return tmp_path

    @pytest.fixture(autouse=True)
    def _nothing_left(
        self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        """Look for threads, processes, descriptors and files that are left behind."""
        # A folder for temporary files of its own: others may use the common one.
        private = str(tmp_path_factory.mktemp("temporary"))
        monkeypatch.setattr(tempfile, "tempdir", private)
        monkeypatch.setenv("TMPDIR", private)
        before = Ledger.taken()
        yield
        left = before.left_behind(pool_may_live=True)
        if left:
            # What the process-wide pool keeps warm is no leak of the executor's, nor
            # is what nobody holds any more.
            gc.collect()
            shutdown()
            left = before.left_behind()
        assert not left, "left behind:\n" + "\n".join(left)

    @pytest.fixture
    def capabilities(self, executor: Executor) -> Capabilities:
        """What the executor declares."""
        return executor.capabilities

    @pytest.fixture
    def apart(self, executor: Executor) -> bool:
        """Whether its calls run in other processes than this one."""
        where = self.run(executor, lambda: (os.getpid(), machine()))
        return bool(where != (os.getpid(), machine()))

    def begin(
        self, executor: Executor, function: Callable[..., Any], *args: Any, **kw: Any
    ) -> RecordedCall:
        """Give a call to the executor."""
        call = RecordedCall(function, *args, **kw)
        try:
            executor.start(call)
        except Exception as error:  # noqa: BLE001 - start may raise: the call has failed
            call.failed(error)
        return call

    def run(
        self, executor: Executor, function: Callable[..., Any], *args: Any, **kw: Any
    ) -> Any:
        """Run one call to its end; return its value or raise its error."""
        end = self.begin(executor, function, *args, **kw).end(self.patience)
        if end.kind == "failed":
            raise end.detail
        assert end.kind == "succeeded", f"ended unasked: {end.detail}"
        return end.detail

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that must happen.

        Raises:
            AssertionError: it did not, within the suite's patience.
        """
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, (
                f"not so after {self.patience} s: {what}"
            )
            time.sleep(0.01)
