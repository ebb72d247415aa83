"""Executors and plugins that misbehave where it hurts others most."""

import os
import threading

import pytest
from life_kit import output_of
from site_kit import new_site

from entangle._pool import pool as pools
from entangle.backend import Capabilities, Executor, infrastructure
from entangle.errors import PluginError, ProcessTimeoutException
from entangle.process import process
from entangle.task import gather, shutdown, task
from entangle.thread import thread

PATIENCE = 20.0


class Odd(Executor):
    """Does with a call what the test says."""

    capabilities = Capabilities(kill=True)

    def __init__(self, does):
        super().__init__()
        self.does = does
        self.given = []

    def start(self, call):
        self.given.append(call)
        self.does(call)

    def cancel(self, call, grace):
        call.cancelled("killed")


def value(call):
    call.succeeded(call.invoke())


@pytest.mark.parametrize(
    "report",
    [
        ("log", "x\n"),
        ("stdout", b"bytes\n"),
        ("stdout", None),
        (None, 3),
        ([], object()),
    ],
    ids=["stream", "bytes", "nothing", "number", "objects"],
)
def test_output_that_is_none_harms_nobody(report, capfd):
    def does(call):
        call.output(*report)
        value(call)

    assert task(executor=Odd(does))(abs)(-1)() == 1
    assert Odd(does).submit(abs, -2).result(PATIENCE) == 2
    assert [thread(len)([1])().__add__(0) for _ in range(3)] == [1, 1, 1]
    assert thread(len)([1]).submit().result(PATIENCE) == 1
    del capfd


def test_output_after_the_end_is_ignored(capfd):
    executor = Odd(value)
    assert task(executor=executor)(abs)(-1)() == 1
    executor.given[0].output("stdout", "too late\n")
    assert thread(abs)(-3)() == 3
    assert "too late" not in capfd.readouterr().out


class SlowToMake(Executor):
    """Is made when the test lets it.

    Args:
        name: Any.
    """

    gate = threading.Event()
    making = threading.Event()
    made = []  # noqa: RUF012 - of the test

    def __init__(self, *, name: str = ""):
        super().__init__()
        self.name = name
        self.down = threading.Event()
        SlowToMake.making.set()
        assert SlowToMake.gate.wait(PATIENCE)
        SlowToMake.made.append(self)

    def start(self, call):
        call.succeeded(call.invoke())

    def cancel(self, call, grace):
        call.cancelled("killed")

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait, cancel_futures=cancel_futures)
        self.down.set()


slow = infrastructure(SlowToMake, name="slow")


@pytest.fixture
def slowly():
    SlowToMake.gate.clear()
    SlowToMake.making.clear()
    SlowToMake.made.clear()
    yield
    SlowToMake.gate.set()
    shutdown()


def test_two_calls_that_return_nodes_of_one_place(slowly, monkeypatch):
    """The place is made once for the run, and given back."""
    monkeypatch.setenv("ENTANGLE_IDLE", "0")
    shutdown()

    @thread
    def unfold(number):
        return slow(name="one")(abs)(number)

    future = gather(unfold(-1), unfold(-2), unfold(-3)).submit()
    assert SlowToMake.making.wait(PATIENCE)
    SlowToMake.gate.set()
    assert future.result(PATIENCE) == [1, 2, 3]
    assert len(SlowToMake.made) == 1
    assert SlowToMake.made[0].down.wait(PATIENCE)


def test_a_shutdown_while_an_executor_is_made(slowly):
    errors = []

    def run():
        try:
            slow(name="two")(abs)(-1)()
        except Exception as error:
            errors.append(error)

    runner = threading.Thread(target=run)
    runner.start()
    assert SlowToMake.making.wait(PATIENCE)
    shutdown()
    SlowToMake.gate.set()
    runner.join(PATIENCE)
    assert [type(error) for error in errors] == [PluginError]
    assert "shut down" in str(errors[0])
    assert SlowToMake.made[0].down.wait(PATIENCE)


def test_a_timeout_where_starts_are_not_told():
    """Being handed over counts."""
    node = task(executor=Odd(lambda call: None), timeout=0.1)(abs)(-1)
    with pytest.raises(ProcessTimeoutException) as caught:
        node.run(timeout=PATIENCE)
    assert caught.value.phase == "body"
    assert task(executor=Odd(value), start=5)(abs)(-1)() == 1


def test_here_is_here_already(monkeypatch):
    monkeypatch.setenv("ENTANGLE_TARGETS", "*=local")
    assert task(executor="thread")(os.getpid)()() == os.getpid()
    plan = task(executor="thread")(os.getpid)().plan()
    assert (plan.tasks[0].place, plan.tasks[0].instead_of) == ("thread", "")


class Unspeakable(Exception):  # noqa: N818 - a plugin's own
    def __str__(self):
        raise RuntimeError("not even its message")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Distributions of the test, and no others."""
    yield from new_site(tmp_path, monkeypatch)


UNSPEAKABLE = """
class Odd(Exception):
    def __str__(self): raise RuntimeError
raise Odd
"""


def test_an_error_of_a_plugin_that_cannot_be_shown(site):
    site.add("odd", UNSPEAKABLE)
    assert site.plugins.executor("process")
    found = {plugin.name: plugin.problems for plugin in site.plugins.all()}
    (problem,) = found["odd"]
    assert "odd_plugin can't be imported: Odd" in problem


def test_an_executor_that_cannot_be_made_nor_shown():
    class Broken(Executor):
        """Never there."""

        def __init__(self):
            raise Unspeakable

        def start(self, call):
            pass

        def cancel(self, call, grace):
            pass

    broken = infrastructure(Broken, name="broken")
    with pytest.raises(PluginError, match="@broken of .* can't make its executor"):
        broken(abs)(-1)()
    entries = pools.get().hosted._entries
    assert not [entry for entry in entries.values() if "broken" in entry.label]


DEADLOCK = """
import sys
sys.path.insert(0, sys.argv[1])
from entangle._seam import plugins
plugins.PATIENCE = 0.2
from entangle.task import task
print(task(executor="good")(abs)(-1)())
"""
WAITS = """
from entangle.thread import thread
@thread
def inner(): return thread(abs)(-2)()
assert inner()() == 2
@hookimpl
def entangle_executors():
    from entangle.backend import ThreadExecutor
    return {"good": ThreadExecutor}
"""


@pytest.mark.process
def test_a_plugin_that_waits_for_a_thread_that_asks_for_plugins(site):
    site.add("waits", WAITS)
    assert output_of(DEADLOCK, str(site.folder)) == "1\n"


FORK = """
import os, sys, threading, time
from entangle._seam.plugins import plugins
loading, go = threading.Event(), threading.Event()
def loaded():
    loading.set()
    go.wait(10)
    return type(plugins)._loaded(plugins)
plugins._loaded = loaded
threading.Thread(target=plugins.all).start()
loading.wait(10)
child = os.fork()
if not child:
    del plugins._loaded
    assert plugins.executor("process")
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go.set()
"""


@pytest.mark.process
def test_a_fork_while_plugins_are_loaded():
    assert output_of(FORK) == "0\n"


@pytest.mark.process
def test_ends_from_many_threads_are_one_end():
    def does(call):
        value = call.invoke()
        ends = [lambda: call.succeeded(value), lambda: call.failed(ValueError("x"))]
        threads = [threading.Thread(target=ends[n % 2]) for n in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    for _ in range(20):
        future = Odd(does).submit(abs, -1)
        try:
            assert future.result(PATIENCE) == 1
        except ValueError:
            pass
    assert process(abs)(-4)() == 4
