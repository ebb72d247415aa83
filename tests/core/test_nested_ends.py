"""The end of a call that runs a graph: told once, in time, and with nothing left."""

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import threading
import time

import pytest
from life_kit import SOON, until, within

from entangle._pool import pool as pools
from entangle.backend import ProcessExecutor
from entangle.errors import (
    ProcessTerminatedException,
    ProcessTimeoutException,
    WorkerStartError,
)
from entangle.process import process
from entangle.thread import thread

pytestmark = pytest.mark.process

TOO_LARGE = {"LARGE": "x" * 300_000}


@process
def inner(seconds):
    time.sleep(seconds)
    return 1


@process
def between(seconds):
    return inner(seconds)()


@process(preload=["json"])
def elsewhere(seconds):
    time.sleep(seconds)
    return 1


def jobs():
    return pools.get().processes._jobs


def zygote_of(*modules):
    fleet = pools.get().processes._fleet
    for preload, zygote in fleet._zygotes.items():
        if set(modules) <= set(preload):
            return zygote.pid
    raise AssertionError(modules)


class Deaf:
    """A zygote that hears nothing from one moment to another."""

    def __init__(self, pid, begin, length):
        self._pid = pid
        self._timers = [
            threading.Timer(begin, os.kill, (pid, signal.SIGSTOP)),
            threading.Timer(begin + length, os.kill, (pid, signal.SIGCONT)),
        ]

    def __enter__(self):
        for timer in self._timers:
            timer.start()

    def __exit__(self, *_):
        for timer in self._timers:
            timer.cancel()
            timer.join()
        os.kill(self._pid, signal.SIGCONT)


@pytest.mark.parametrize("nested", [inner, between])
def test_a_nested_call_that_answers_while_it_is_being_ended(nested):
    """Its answer is nobody's, but whoever waits for its end must hear of it."""
    assert between(0)() == 1
    outer = process(timeout=0.2)(lambda seconds: nested(seconds)())
    with Deaf(zygote_of(), 0.15, 0.3), within(SOON):
        with pytest.raises(ProcessTimeoutException):
            outer(0.3)()
    until(lambda: not jobs())


def test_a_nested_call_that_answers_after_the_death_of_its_caller():
    assert elsewhere(0)() == 1

    @process
    def outer():
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return elsewhere(0.5)()

    with Deaf(zygote_of("json"), 0.25, 0.5):
        with pytest.raises(ProcessTerminatedException):
            outer().run(timeout=10)
    until(lambda: not jobs())


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_limited_call_that_is_abandoned_in_a_nested_run(kind):
    """Its place is free again, once."""

    def plain(seconds):
        return inner(seconds)()

    async def coroutine(seconds):
        return await inner(seconds)

    outer = thread(limit=1)(plain if kind == "plain" else coroutine)
    for _ in range(3):
        with pytest.raises(ProcessTimeoutException) as caught:
            outer(5).run(timeout=0.2)
        assert caught.value.phase == "run"
    assert outer(0).run(timeout=10) == 1
    until(lambda: not pools.get().limits._limits)


def test_a_thread_is_abandoned_whatever_its_run_does():
    @thread
    async def stubborn(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass

    @thread
    def outer():
        return stubborn(1.5)()

    begun = time.monotonic()
    with pytest.raises(ProcessTimeoutException):
        outer().run(timeout=0.2)
    assert time.monotonic() - begun < 1.2


def test_an_end_does_not_wait_for_a_zygote_that_still_starts(tmp_path, monkeypatch):
    (tmp_path / "slow_to_load.py").write_text("import time; time.sleep(2.5)")
    monkeypatch.syspath_prepend(str(tmp_path))
    slow = process(preload=["slow_to_load"])(int)

    @process(timeout=0.3)
    def outer():
        return slow()()

    assert inner(0)() == 1
    begun = time.monotonic()
    with pytest.raises(ProcessTimeoutException):
        outer()()
    future = slow().submit()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert time.monotonic() - begun < 2
    pools.shutdown()


def test_a_nested_call_that_cannot_start():
    bad = process(env=TOO_LARGE)(int)

    @process
    def outer():
        return bad()()

    with pytest.raises(WorkerStartError, match="200 KB"):
        outer().run(timeout=10)


def test_a_call_that_cannot_start_holds_nothing_up():
    busy, bad = inner(3).submit(), process(env=TOO_LARGE)(int)().submit()
    other = process(int)("3").submit()
    with pytest.raises(WorkerStartError):
        bad.result(2)
    assert other.result(2) == 3
    busy.cancel()


def test_calls_that_are_cancelled_while_their_worker_is_refused(caplog):
    import resource

    assert inner(0)() == 1
    zygote = zygote_of()
    limits = resource.prlimit(zygote, resource.RLIMIT_NOFILE)
    resource.prlimit(zygote, resource.RLIMIT_NOFILE, (9, limits[1]))
    try:
        for worker in pools.get().processes._fleet:
            os.kill(worker.pid, signal.SIGKILL)
        until(lambda: not list(pools.get().processes._fleet) or _run_once())
        with ProcessExecutor() as executor:
            os.kill(zygote, signal.SIGSTOP)
            futures = [executor.submit(int) for _ in range(4)]
            for future in futures:
                future.cancel()
            os.kill(zygote, signal.SIGCONT)
            until(lambda: all(future.done() for future in futures))
        until(lambda: not jobs() and not pools.get().hub._active)
    finally:
        # It may have been replaced by one that has descriptors.
        with contextlib.suppress(ProcessLookupError):
            os.kill(zygote, signal.SIGCONT)
            resource.prlimit(zygote, resource.RLIMIT_NOFILE, limits)
    assert inner(0)() == 1
    assert "please report" not in caplog.text


def _run_once():
    """Nobody reads of deaths while nothing runs."""
    pools.get().hub.attend()
    pools.get().hub.post(int)
    return False


def test_a_run_that_an_abandoned_body_starts_is_let_go():
    begin = threading.Event()

    @thread
    def outer():
        begin.wait()
        return inner(0)()

    for _ in range(3):
        with pytest.raises(ProcessTimeoutException):
            outer().run(timeout=0.05)
    begin.set()
    pool = pools.get()
    until(lambda: not pool.hub._active and not pool.runs)


def test_a_value_whose_rebuilding_leaves_the_program():
    from entangle.errors import TaskError

    with pytest.raises(TaskError, match="SystemExit"):
        process(lambda: Leaves())()()


class Leaves:
    def __reduce__(self):
        return exit_here, (3,)


def exit_here(code):
    raise SystemExit(code)
