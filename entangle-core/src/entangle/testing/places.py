"""The part of the suite about options, graphs and Python's own interface."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from entangle.errors import (
    ProcessTimeoutException,
    UnmetCapabilityError,
)
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import gather, task
from entangle.thread import thread

from .base import Suite
from .bodies import (
    heartbeat,
    still,
    touch,
)

if TYPE_CHECKING:
    from pathlib import Path

    from entangle.backend import Capabilities, Executor


class PlacesSuite(Suite):
    """The executor as the place of tasks."""

    def test_timeouts_really_end_the_work(
        self, executor: Executor, capabilities: Capabilities, folder: Path | None
    ) -> None:
        """With `kill` a timeout is raised and the body is gone; else it is refused."""
        if not capabilities.kill:
            with pytest.raises(UnmetCapabilityError, match="timeout"):
                task(executor=executor, timeout=1)(heartbeat)
            return
        if folder is None:
            pytest.skip("its calls can't be looked at")
        beat, stop = str(folder / "beat"), str(folder / "stop")
        slow = task(executor=executor, timeout=0.5)(heartbeat)
        begun = time.monotonic()
        try:
            with pytest.raises(ProcessTimeoutException) as caught:
                slow(beat, stop, self.patience)()
            assert caught.value.phase == "body"
            assert time.monotonic() - begun < self.patience
            self.until(lambda: still(beat), "the body is ended")
        finally:
            touch(stop)

    @pytest.mark.parametrize(
        ("option", "value", "needs"),
        [
            ("fresh", True, "fresh"),
            ("preload", ["wave"], "fresh"),
            ("env", {"CONFORMANCE": "yes"}, "process"),
            ("cwd", "/", "process"),
            ("nice", 1, "process"),
        ],
    )
    def test_options_are_honoured_or_refused(
        self,
        executor: Executor,
        capabilities: Capabilities,
        option: str,
        value: Any,
        needs: str,
    ) -> None:
        """What isn't declared is refused where the task is made, by its name."""
        decorate = task(executor=executor, **{option: value})

        def look() -> dict[str, Any]:
            # What runs before it in the same process leaves its mark there: not in the
            # environment, which may be passed on.
            fresh = not hasattr(sys, "conformance_mark")
            sys.__dict__["conformance_mark"] = True
            return {
                "fresh": fresh,
                "preload": "wave" in sys.modules,
                "env": os.environ.get("CONFORMANCE") == "yes",
                "cwd": os.getcwd() == "/",
                "nice": os.nice(0),
            }

        if not getattr(capabilities, needs):
            with pytest.raises(UnmetCapabilityError, match=option):
                decorate(look)
            return
        # A place's calls need not begin with the priority of this process.
        usual = self.run(executor, os.nice, 0) if option == "nice" else 0
        for _ in range(2):
            seen = decorate(look)()()
            if option == "nice":
                assert seen["nice"] == usual + 1
            else:
                assert seen[option], f"{option}={value!r} was accepted and ignored"

    def test_cpus_are_set_aside_or_refused(
        self, executor: Executor, capabilities: Capabilities
    ) -> None:
        """With `cpus`, a call under a scheduler is bound to one; else it is refused."""

        def bound() -> int:
            return len(os.sched_getaffinity(0))

        decorate = scheduler(cpus=1)
        if not capabilities.cpus:
            with pytest.raises(UnmetCapabilityError, match="scheduler"):
                decorate(task(executor=executor)(bound))
            return
        assert decorate(task(executor=executor)(bound))()() == 1

    def test_in_a_graph_beside_other_places(
        self, executor: Executor, apart: bool
    ) -> None:
        """Values go on to the next task, whatever place that has."""
        del apart
        here = task(executor=executor)

        def double(number: int) -> int:
            return 2 * number

        def total(numbers: list[int]) -> int:
            return sum(numbers)

        doubled = [here(double)(number) for number in range(5)]
        again = [process(double)(node) for node in doubled]
        node = here(total)([*again, thread(double)(doubled[1])])
        assert node() == sum(4 * number for number in range(5)) + 4
        assert gather(*doubled)() == [0, 2, 4, 6, 8]

    def test_retries(self, executor: Executor, folder: Path | None) -> None:
        """A failed attempt is tried again in the same place."""
        if folder is None:
            pytest.skip("its calls can't be looked at")
        path = str(folder / "attempts")

        def third(path: str) -> int:
            with open(path, "a") as file:
                file.write(".")
            if os.path.getsize(path) < 3:
                raise ValueError
            return 3

        assert task(executor=executor, retry=2)(third)(path)() == 3

    def test_a_failure_ends_the_run(self, executor: Executor) -> None:
        """The first error is raised as itself, and the executor goes on."""

        def fail() -> None:
            raise KeyError("first")

        here = task(executor=executor)
        with pytest.raises(KeyError, match="first") as caught:
            gather(here(fail)(), *[here(abs)(-n) for n in range(5)])()
        assert any("fail" in note for note in caught.value.__notes__)
        assert self.run(executor, lambda: 1) == 1

    def test_as_a_concurrent_futures_executor(self, executor: Executor) -> None:
        """``submit`` and ``map`` work wherever Python takes an executor."""
        offset = 1
        assert isinstance(executor, concurrent.futures.Executor)

        def more(number: int) -> int:
            return number + offset

        assert executor.submit(more, 1).result(self.patience) == 2
        assert list(executor.map(more, range(5))) == [1, 2, 3, 4, 5]
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: offset / 0).result(self.patience)

    def test_shutdown(self, executor: Executor) -> None:
        """It waits for what runs, may be called again, and takes no more calls."""

        def slow() -> int:
            time.sleep(0.2)
            return 1

        future = executor.submit(slow)
        executor.shutdown()
        assert future.done()
        assert future.result() == 1
        executor.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            executor.submit(slow)
