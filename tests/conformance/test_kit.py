"""The kit, over the executors that core has and two of somebody else's."""

import concurrent.futures
import multiprocessing
import threading
from pathlib import Path

import pytest

from entangle.backend import (
    Capabilities,
    Executor,
    ForeignExecutor,
    InlineExecutor,
    ProcessExecutor,
    ThreadExecutor,
)
from entangle.testing import ExecutorConformance, FakeExecutor, ManualClock

pytestmark = pytest.mark.process


class TestInline(ExecutorConformance):
    @pytest.fixture
    def executor(self):
        with InlineExecutor() as executor:
            yield executor


class TestThreads(ExecutorConformance):
    @pytest.fixture
    def executor(self):
        with ThreadExecutor() as executor:
            yield executor


class TestProcesses(ExecutorConformance):
    @pytest.fixture
    def executor(self):
        with ProcessExecutor() as executor:
            yield executor


class TestForeignThreads(ExecutorConformance):
    @pytest.fixture
    def executor(self):
        pool = concurrent.futures.ThreadPoolExecutor(4)
        with ForeignExecutor(pool, owned=True) as executor:
            yield executor


PAGE = Path(__file__).parents[2] / "docs" / "write-a-backend.md"


class TestTutorial(ExecutorConformance):
    """The executor that the documentation builds: a new Python for each call."""

    calls_at_once = 8
    most_bytes = 10_000_000

    @pytest.fixture
    def executor(self):
        source = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
        names = {"__name__": "cellar"}
        exec(compile(source, str(PAGE), "exec"), names)
        with names["CellarExecutor"]() as executor:
            yield executor


class TestLoky(ExecutorConformance):
    @pytest.fixture
    def executor(self, loky_pool):
        if loky_pool is None:
            pytest.skip("loky is not installed")
        with ForeignExecutor(loky_pool) as executor:
            yield executor


# -- executors that lie: the kit has to find each


class Lying(ThreadExecutor):
    """A thread executor that claims more, or does less, than it should."""


class SaysKilled(Lying):
    capabilities = Capabilities(kill=True, started=True, shared_objects=True)

    def cancel(self, call, grace):
        call.cancelled("killed")


class SaysCopies(Lying):
    capabilities = Capabilities(started=True)


class SaysFresh(Lying):
    capabilities = Capabilities(started=True, shared_objects=True, fresh=True)


class StartsWhenGiven(Lying):
    def start(self, call):
        call.started()
        super().start(call)


class SaysFreshOfOne(ForeignExecutor):
    """One process for all, said to be a new one each time."""

    capabilities = Capabilities(fresh=True)

    def __init__(self):
        fork = multiprocessing.get_context("fork")
        pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=fork)
        super().__init__(pool, owned=True)


class SaysProcess(Lying):
    capabilities = Capabilities(started=True, shared_objects=True, process=True)


class SaysCpus(Lying):
    capabilities = Capabilities(started=True, shared_objects=True, cpus=True)


class SwapsValues(Lying):
    def __init__(self):
        super().__init__()
        self._first = None

    def start(self, call):
        if self._first is None:
            self._first = call
            return
        other, self._first = self._first, None
        call.args, other.args = other.args, call.args
        super().start(other)
        super().start(call)


class SaysOutput(Lying):
    capabilities = Capabilities(shared_objects=True, output=True)

    def start(self, call):
        def silent(*args, **kwargs):
            import contextlib
            import io

            with contextlib.redirect_stdout(io.StringIO()):
                return function(*args, **kwargs)

        function, call.function = call.function, silent
        super().start(call)


class SaysConcurrent(Lying):
    def __init__(self):
        super().__init__()
        self._one = threading.Lock()

    def start(self, call):
        def alone(*args, **kwargs):
            with self._one:
                return function(*args, **kwargs)

        function, call.function = call.function, alone
        super().start(call)


class ReportsTwice(Lying):
    def start(self, call):
        call.started()
        call.succeeded(call.invoke())
        call.succeeded(None)


class NeverReports(Lying):
    def start(self, call):
        pass


class StartsTooLate(Lying):
    def start(self, call):
        value = call.invoke()
        call.succeeded(value)
        call.started()


class ForgetsArguments(Lying):
    def start(self, call):
        call.kwargs = None
        super().start(call)


class TakesCallsAfterShutdown(Lying):
    def shutdown(self, wait=True, *, cancel_futures=False):
        pass


class RaisesWhatItIsGiven(Lying):
    def start(self, call):
        try:
            call.succeeded(call.invoke())
        except BaseException as error:
            call.failed(RuntimeError(str(error)))


LIARS = (
    (SaysKilled, "test_cancel_tells_the_truth", "runs on"),
    (SaysCopies, "test_objects_are_shared_or_copied_as_declared", ""),
    (SaysFresh, "test_options_are_honoured_or_refused:fresh", "accepted and ignored"),
    (SaysFresh, "test_options_are_honoured_or_refused:preload", "accepted and ignored"),
    (
        SaysFreshOfOne,
        "test_options_are_honoured_or_refused:fresh",
        "accepted and ignored",
    ),
    (SaysProcess, "test_options_are_honoured_or_refused:env", "accepted and ignored"),
    (SaysProcess, "test_options_are_honoured_or_refused:cwd", "accepted and ignored"),
    (SaysProcess, "test_options_are_honoured_or_refused:nice", ""),
    (SaysKilled, "test_timeouts_really_end_the_work", ""),
    (StartsWhenGiven, "test_starts_are_not_told_too_early", "entered their bodies"),
    (SaysCpus, "test_cpus_are_set_aside_or_refused", ""),
    (SwapsValues, "test_many_calls_at_once", ""),
    (SaysOutput, "test_output_arrives_as_declared", ""),
    (SaysConcurrent, "test_calls_run_at_once_as_declared", ""),
    (ReportsTwice, "test_one_end_and_nothing_after_it", ""),
    (NeverReports, "test_arguments_of_all_kinds", "nothing was heard"),
    (StartsTooLate, "test_one_end_and_nothing_after_it", ""),
    (ForgetsArguments, "test_arguments_of_all_kinds", ""),
    (TakesCallsAfterShutdown, "test_shutdown", ""),
    (RaisesWhatItIsGiven, "test_exceptions_arrive_as_themselves", ""),
)


VALUES = {
    "fresh": True,
    "preload": ["wave"],
    "env": {"CONFORMANCE": "yes"},
    "cwd": "/",
    "nice": 1,
}


class Impatient(ExecutorConformance):
    patience = 0.5
    __test__ = False


@pytest.mark.parametrize(
    ("kind", "test", "says"),
    LIARS,
    ids=[f"{kind.__name__}-{test.partition(':')[2]}" for kind, test, _ in LIARS],
)
def test_the_kit_finds_who_lies(kind, test, says, tmp_path, capfd, monkeypatch):
    name, _, option = test.partition(":")
    executor = kind()
    given = {
        "executor": executor,
        "capabilities": executor.capabilities,
        "folder": tmp_path,
        "capfd": capfd,
        "option": option,
        "value": VALUES.get(option),
        "needs": "fresh" if option in {"fresh", "preload"} else "process",
    }
    judge = getattr(Impatient(), name)
    wanted = judge.__code__.co_varnames[1 : judge.__code__.co_argcount]
    # A place without processes finds the test's own environment.
    monkeypatch.delenv("CONFORMANCE_MARK", raising=False)
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        judge(**{each: given[each] for each in wanted})
    monkeypatch.delenv("CONFORMANCE_MARK", raising=False)
    executor.shutdown()
    assert says in str(caught.value)


# -- fakes


def test_a_fake_executor_does_what_the_test_decides():
    from entangle.task import task

    executor = FakeExecutor()
    future = task(executor=executor, timeout=5, env={"A": "b"})(max)(1, 2).submit()
    call = executor.next()
    assert (call.args, call.name) == ((1, 2), "max")
    call.started()
    call.succeeded(7)
    assert future.result() == 7
    second = task(executor=executor)(max)(1, 2).submit()
    with executor._changed:
        assert executor._changed.wait_for(lambda: executor.calls, 10)
    second.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        second.result()
    assert second.cancelled_how() == "killed"
    assert executor.calls == []
    with pytest.raises(AssertionError, match="no call was given"):
        executor.next(0.01)


def test_a_clock_that_stands_still():
    clock = ManualClock(5.0)
    assert clock.now() == 5.0
    assert not clock.wait_until(6.0, patience=0.01)
    waiting = threading.Thread(target=clock.wait_until, args=(6.0,))
    waiting.start()
    clock.advance(1.5)
    waiting.join(10)
    assert not waiting.is_alive()
    assert clock.now() == 6.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_an_executor_that_is_none_of_ours_is_an_executor():
    assert issubclass(ForeignExecutor, Executor)
