"""Places of somebody else's: replaced, named, shared, shut down, and misbehaving."""

import concurrent.futures
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from typing import ClassVar

import pytest
from life_kit import output_of, until

from entangle._pool import hosted
from entangle._run.replaced import replacements
from entangle._seam.plugins import Plugin, Plugins
from entangle.backend import (
    Capabilities,
    Executor,
    ProcessExecutor,
    ThreadExecutor,
    context,
    infrastructure,
)
from entangle.errors import (
    CompositionError,
    OptionError,
    PluginError,
    ProcessTimeoutException,
    TaskError,
    UnmetCapabilityError,
)
from entangle.process import process
from entangle.task import as_completed, gather, shutdown, task
from entangle.thread import thread

PATIENCE = 20.0
TARGETS = "ENTANGLE_TARGETS"


class BoxExecutor(Executor):
    """Runs a call as soon as it gets it.

    Args:
        size: How much fits in.
        labels: What is written on it.
    """

    capabilities = Capabilities(kill=True, started=True)
    made: ClassVar[list] = []

    def __init__(self, *, size: int = 1, labels: dict[str, str] | None = None):
        super().__init__()
        self.size = size
        self.labels = labels
        self.calls = 0
        self.shut = threading.Event()
        self.made.append(self)

    def start(self, call):
        self.calls += 1
        call.started()
        try:
            value = call.invoke()
        except BaseException as error:
            call.failed(error)
        else:
            call.succeeded(value)

    def cancel(self, call, grace):
        call.cancelled("killed")

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait, cancel_futures=cancel_futures)
        self.shut.set()


class HeldExecutor(Executor):
    """Leaves all calls to the test."""

    capabilities = Capabilities(kill=True, started=True)
    started = queue.SimpleQueue()
    cancelled = queue.SimpleQueue()

    def start(self, call):
        self.started.put(call)

    def cancel(self, call, grace):
        self.cancelled.put(call)


class ElsewhereExecutor(BoxExecutor):
    """Has the work already."""

    def __init__(self):
        super().__init__()


def remote(event):
    """What calls of the work look like."""


box = infrastructure(BoxExecutor)
held = infrastructure(HeldExecutor)
elsewhere = infrastructure(ElsewhereExecutor, calls_like=remote)


@pytest.fixture(autouse=True)
def _afresh(monkeypatch):
    """Nothing made, nothing replaced, before and after."""
    for name in (TARGETS, "ENTANGLE_INLINE", "ENTANGLE_IDLE"):
        monkeypatch.delenv(name, raising=False)
    yield
    shutdown()
    BoxExecutor.made.clear()
    for calls in (HeldExecutor.started, HeldExecutor.cancelled):
        with contextlib.suppress(queue.Empty):
            while True:
                calls.get(timeout=0)


@pytest.fixture
def offer(monkeypatch):
    """Register executors as a plugin does."""
    plugins = Plugins()
    plugin = Plugin("onprem", "onprem.plugin", "onprem-dist", "1.0")
    for module in ("_seam.plugins", "_run.observers", "_run.resolved", "_run.plan"):
        monkeypatch.setattr(f"entangle.{module}.plugins", plugins)
    offers = plugins.executors()

    def register(name, factory):
        offers[name] = [(plugin, factory)]

    return register


def where():
    return os.getpid(), threading.get_ident()


def add(a, b=1):
    return a + b


def begun():
    """Return the next call that was given to a held executor."""
    return HeldExecutor.started.get(timeout=PATIENCE)


def asked():
    """Return the next call that a held executor is to end."""
    return HeldExecutor.cancelled.get(timeout=PATIENCE)


def entries():
    """Return what is kept of executors of targets."""
    from entangle._pool import pool

    existing = pool.existing()
    return existing.hosted._entries if existing is not None else {}


# -- ENTANGLE_TARGETS ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("docker=local", {"docker": "local"}),
        ("docker=local,*=thread", {"docker": "local", "*": "thread"}),
        (" docker = local , , ", {"docker": "local"}),
        ("a=b,a=b", {"a": "b"}),
    ],
)
def test_replacements(monkeypatch, text, pairs):
    monkeypatch.setenv(TARGETS, text)
    assert replacements() == pairs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("docker", "'docker' is not of the form name=place"),
        ("docker=", "'docker=' is not of the form"),
        ("=local", "not of the form"),
        ("docker=*", "not of the form"),
        ("dock er=local", "not of the form"),
        ("docker=local=x", "not of the form"),
        ("a=b;c=d", "not of the form"),
        ("a=b,a=c", "replaces a twice: keep one"),
    ],
)
def test_replacements_that_make_no_sense(monkeypatch, text, words):
    monkeypatch.setenv(TARGETS, text)
    with pytest.raises(OptionError) as caught:
        replacements()
    assert words in str(caught.value)
    assert f"{TARGETS}={text!r}" in str(caught.value)
    assert caught.value.option == TARGETS
    with pytest.raises(OptionError):
        box(add)(1)()
    with pytest.raises(OptionError):
        box(add)(1).plan()


@pytest.mark.process
@pytest.mark.parametrize("text", ["box=local", "*=local", "*=thread,box=local"])
def test_replaced_by_this_machine(monkeypatch, text):
    monkeypatch.setenv(TARGETS, text)
    pid, _ = box(size=3)(where)()()
    assert pid != os.getpid()
    assert BoxExecutor.made == []


@pytest.mark.parametrize("text", ["box=thread", "*=thread", "box = thread, *=local"])
def test_replaced_by_a_name(monkeypatch, text):
    monkeypatch.setenv(TARGETS, text)
    pid, ident = box(size=3)(where)()()
    assert pid == os.getpid()
    assert ident != threading.get_ident()
    assert BoxExecutor.made == []


@pytest.mark.parametrize("text", ["other=local", "*=thread,box=box"])
def test_not_replaced(monkeypatch, text):
    monkeypatch.setenv(TARGETS, text)
    assert box(add)(1)() == 2
    assert len(BoxExecutor.made) == 1


def test_replaced_by_a_name_of_a_plugin(monkeypatch, offer):
    monkeypatch.setenv(TARGETS, "held=box")
    offer("box", box)
    assert held(add)(1)() == 2
    assert len(BoxExecutor.made) == 1


def test_a_name_is_replaced_like_a_target(monkeypatch, offer):
    monkeypatch.setenv(TARGETS, "named=thread")
    offer("named", BoxExecutor)
    assert task(executor="named")(where)()()[0] == os.getpid()
    assert BoxExecutor.made == []


def test_a_given_executor_is_not_replaced(monkeypatch):
    monkeypatch.setenv(TARGETS, "*=local")
    with BoxExecutor() as executor:
        assert task(executor=executor)(add)(1)() == 2
        assert executor.calls == 1


def test_replaced_by_what_is_not_there(monkeypatch):
    monkeypatch.setenv(TARGETS, "box=proces")
    with pytest.raises(PluginError, match="did you mean 'process'?"):
        box(add)(1)()
    (planned,) = box(add)(1).plan().tasks
    assert "did you mean 'process'?" in planned.refused


def test_options_are_left_out_with_one_warning(monkeypatch):
    monkeypatch.setenv(TARGETS, "box=thread")
    slow = box(task(timeout=60, retry=1, limit=2)(add))
    nodes = gather(*slow.map(range(5)).args[0], slow(7))
    with pytest.warns(RuntimeWarning) as caught:
        assert nodes() == [1, 2, 3, 4, 5, 8]
    (warning,) = caught
    assert "add runs in thread, which replaces its own place" in str(warning.message)
    assert "timeout: it cannot end a running call" in str(warning.message)
    (planned,) = [each for each in nodes.plan().tasks if each.name == "add"]
    assert planned.relaxed == ("timeout: it cannot end a running call",)
    assert planned.refused == ""
    assert planned.instead_of == repr(slow.options.executor)
    assert "left out: timeout: it cannot end a running call" in str(nodes.plan())


def test_what_the_replacement_honours_is_not_left_out(monkeypatch):
    monkeypatch.setenv(TARGETS, "box=thread")
    tries = []

    def fails_once():
        tries.append(1)
        if len(tries) < 2:
            raise ValueError
        return len(tries)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert task(retry=1)(box(fails_once))()() == 2


def test_work_that_is_at_its_place_cannot_be_replaced(monkeypatch):
    work = elsewhere(add)
    assert work(1)() == 2
    monkeypatch.setenv(TARGETS, "*=local")
    with pytest.raises(CompositionError) as caught:
        work(1)()
    assert "the work is at that place and not in the body of add" in str(caught.value)
    assert "leave elsewhere out of it" in str(caught.value)
    (planned,) = work(1).plan().tasks
    assert planned.refused == str(caught.value)
    monkeypatch.setenv(TARGETS, "*=local,elsewhere=elsewhere")
    assert work(1)() == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_work_that_is_at_its_place_is_not_done_inline(monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    with pytest.raises(CompositionError, match="the work is at that place"):
        elsewhere(add)(1)()
    assert elsewhere(add)(1).plan().refused


PROGRAM = """
import os
from entangle.backend import Executor, infrastructure
from entangle.process import process
class FarExecutor(Executor):
    def start(self, call): raise AssertionError("not here")
    def cancel(self, call, grace): ...
far = infrastructure(FarExecutor)
@far
def main(): return os.getppid() and "here"
"""


@pytest.mark.process
@pytest.mark.parametrize("command", ["run", "plan"])
def test_here_on_the_command_line(tmp_path, command):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    arguments = [sys.executable, "-m", "entangle", command, "--here", str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if command == "run":
        assert done.stdout == "here\n"
    else:
        assert "main: 1 call in process" in done.stdout
        assert "instead of far()" in done.stdout


# -- names ---------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("name", ["process", "thread", "inline"])
def test_executors_of_core_by_name(name):
    pid, ident = task(executor=name)(where)()()
    assert (pid == os.getpid()) is (name != "process")
    # Nothing of the user's runs in the thread that waits for a run.
    assert ident != threading.get_ident() or pid != os.getpid()
    assert task(executor=name)(add)(task(executor=name)(add)(1), b=3)() == 5


def test_a_name_that_is_not_there():
    unknown = task(executor="proces")(add)
    with pytest.raises(PluginError, match="did you mean 'process'?"):
        unknown(1)()
    with pytest.raises(PluginError, match="did you mean 'process'?"):
        next(as_completed([unknown(1)]))
    with pytest.raises(PluginError, match="did you mean 'process'?"):
        gather(thread(add)(1), unknown(1))()


def test_a_name_that_is_not_there_in_a_returned_node():
    with pytest.raises(PluginError, match="no executor named 'xyzzy'"):
        thread(lambda: task(executor="xyzzy")(add)(1))()()


@pytest.mark.parametrize("option", [{"timeout": 3}, {"env": {"A": "1"}}, {"nice": 3}])
def test_what_a_named_executor_cannot_honour_is_refused_before_anything_runs(option):
    ran = []
    (name,) = option
    asks = task(executor="thread", **option)(add)
    node = asks(thread(ran.append)(1))
    with pytest.raises(UnmetCapabilityError) as caught:
        node()
    assert f"add: the executor 'thread' cannot honour {name}=" in str(caught.value)
    assert caught.value.option == name
    assert caught.value.task == "add"
    assert ran == []
    assert node.plan().refused[0].refused == str(caught.value)


@pytest.mark.process
def test_what_a_named_executor_honours(tmp_path):
    asks = task(executor="process", env={"BOX": "full"}, cwd=tmp_path, timeout=60)
    assert asks(os.getenv)("BOX")() == "full"
    assert asks(os.getcwd)()() == str(tmp_path)


def test_a_named_decorator(offer):
    offer("named", box)
    assert task(executor="named")(add)(1)() == 2
    # The same place, whatever it is called.
    assert box(add)(1)() == 2
    assert len(BoxExecutor.made) == 1


def test_a_named_decorator_that_needs_options(offer):
    class NeedyExecutor(BoxExecutor):
        """Needs a host."""

        def __init__(self, *, host: str):
            super().__init__()

    offer("needy", infrastructure(NeedyExecutor))
    with pytest.raises(OptionError, match="needs host="):
        task(executor="needy")(add)(1)()
    assert task(executor="needy")(add)(1).plan().refused


def account(*, user: str = "nobody"):
    """Say who: user."""
    return user


account_of = context(account, name="account")


class PartneredExecutor(BoxExecutor):
    """Runs as somebody."""

    def __init__(self, *, account):
        super().__init__()
        self.account = account


partnered = infrastructure(PartneredExecutor, partners=[account_of])


def test_a_named_decorator_with_partners(offer):
    offer("partnered", partnered)
    assert task(executor="partnered")(add)(1)() == 2
    assert BoxExecutor.made[0].account == "nobody"


def test_a_partner_beside_a_named_decorator(offer):
    offer("partnered", partnered)
    assert account_of(user="somebody")(task(executor="partnered")(add))(1)() == 2
    assert BoxExecutor.made[0].account == "somebody"


def test_a_named_place_that_has_the_work(offer):
    """It is used, or refused in words; never called as if it made executors."""
    offer("elsewhere", elsewhere)
    try:
        assert task(executor="elsewhere")(add)(1)() == 2
    except (CompositionError, PluginError) as error:
        assert "elsewhere" in str(error)


def test_a_factory_of_somebody_elses_executor(offer):
    made = []

    def factory():
        made.append(concurrent.futures.ThreadPoolExecutor(1))
        return made[0]

    offer("pool", factory)
    assert task(executor="pool")(where)()()[1] != threading.get_ident()
    assert task(executor="pool")(add)(1)() == 2
    assert len(made) == 1
    shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        made[0].submit(int)


def test_a_factory_of_an_executor_of_ours(offer):
    offer("mine", lambda: BoxExecutor(size=7))
    assert task(executor="mine")(add)(1)() == 2
    assert BoxExecutor.made[0].size == 7


@pytest.mark.parametrize("made", [None, 7, "thread"])
def test_a_factory_that_gives_no_executor(offer, made):
    offer("bad", lambda: made)
    with pytest.raises(PluginError, match="plugin 'onprem' of onprem-dist 1.0"):
        task(executor="bad")(add)(1)()


# -- made, shared, shut down --------------------------------------------------------


def test_one_executor_for_each_target_of_all_runs():
    first = box(labels={"a": "1", "b": "2"}, size=2)(add)
    second = box(size=2, labels={"b": "2", "a": "1"})(where)
    assert first(1)() == 2
    second()()
    assert task(executor=box(size=2, labels={"a": "1", "b": "2"}))(add)(1)() == 2
    (made,) = BoxExecutor.made
    assert (made.size, made.labels) == (2, {"a": "1", "b": "2"})
    assert made.calls == 3
    assert box(size=3)(add)(1)() == 2
    assert [each.size for each in BoxExecutor.made] == [2, 3]


def test_one_executor_for_runs_that_begin_at_once():
    barrier = threading.Barrier(4)
    values = []

    def run():
        barrier.wait()
        values.append(box(add)(1)())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert values == [2] * 4
    assert len(BoxExecutor.made) == 1


def test_what_is_unused_is_shut_down_after_a_while(monkeypatch):
    monkeypatch.setenv("ENTANGLE_IDLE", "0")
    shutdown()
    assert box(add)(1)() == 2
    first = BoxExecutor.made[0]
    assert first.shut.wait(PATIENCE)
    until(lambda: not entries())
    assert box(add)(1)() == 2
    assert len(BoxExecutor.made) == 2


def test_what_another_run_uses_is_kept(monkeypatch):
    monkeypatch.setenv("ENTANGLE_IDLE", "0")
    shutdown()
    future = gather(box(add)(1), held(add)(1)).submit()
    call = begun()
    assert box(size=1)(add)(1)() == 2
    assert box(add)(2)() == 3
    first = BoxExecutor.made[0]
    assert not first.shut.is_set()
    call.succeeded(2)
    assert future.result(PATIENCE) == [2, 2]
    assert first.shut.wait(PATIENCE)
    until(lambda: not entries())


def test_what_is_used_again_in_time_is_kept(monkeypatch):
    monkeypatch.setenv("ENTANGLE_IDLE", "0.2")
    shutdown()
    assert box(add)(1)() == 2
    future = gather(box(add)(1), held(add)(1)).submit()
    call = begun()
    # The time of the first run is over, and the second goes on.
    until(lambda: all(entry.timer is None for entry in entries().values()))
    assert not BoxExecutor.made[-1].shut.is_set()
    assert box(add)(1)() == 2
    call.succeeded(2)
    assert future.result(PATIENCE) == [2, 2]


@pytest.mark.parametrize("how", ["fails", "cancelled", "never begins"])
def test_a_run_gives_back_what_it_has_taken(monkeypatch, how):
    monkeypatch.setenv("ENTANGLE_IDLE", "0")
    shutdown()
    if how == "fails":
        with pytest.raises(ZeroDivisionError):
            box(lambda: 1 / 0)()()
    elif how == "cancelled":
        future = gather(box(add)(1), held(add)(1)).submit()
        call = begun()
        future.cancel()
        asked()
        call.cancelled("killed")
    else:
        with pytest.raises(PluginError):
            gather(box(add)(1), task(executor="xyzzy")(add)(1))()
    assert BoxExecutor.made[0].shut.wait(PATIENCE)
    until(lambda: not entries())


def test_what_is_returned_too_late_takes_nothing(monkeypatch):
    """A call that was given up may still return nodes of a place."""
    monkeypatch.setenv("ENTANGLE_IDLE", "0")
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.01)
    shutdown()
    future = held(add)(1).submit()
    call = begun()
    future.cancel()
    asked()
    until(lambda: future.cancelled_how() == "unconfirmed")
    until(lambda: not entries())
    call.succeeded(box(add)(1))
    assert thread(add)(1)() == 2
    assert all(made.shut.wait(PATIENCE) for made in BoxExecutor.made)
    assert not entries()


def test_shutdown_shuts_executors_down():
    assert box(add)(1)() == 2
    shutdown()
    assert BoxExecutor.made[0].shut.is_set()
    assert box(add)(1)() == 2
    assert len(BoxExecutor.made) == 2


def test_shutdown_while_a_call_is_under_way():
    future = gather(box(add)(1), held(add)(1)).submit()
    call = begun()
    ended = threading.Thread(target=shutdown)
    ended.start()
    assert asked() is call
    call.cancelled("killed")
    ended.join(PATIENCE)
    assert not ended.is_alive()
    assert future.cancelled()
    assert BoxExecutor.made[0].shut.is_set()


class FailingExecutor(BoxExecutor):
    """Can't be made, or shut down, or both."""

    error = None
    closing = None
    release = threading.Event()

    def __init__(self):
        if self.error is not None:
            raise self.error
        super().__init__()

    def shutdown(self, wait=True, *, cancel_futures=False):
        if self.closing == "raise":
            raise SystemExit(3)
        if self.closing == "hang":
            assert self.release.wait(PATIENCE)
        super().shutdown(wait, cancel_futures=cancel_futures)


failing = infrastructure(FailingExecutor, name="failing")


def test_an_executor_that_cannot_be_made(monkeypatch):
    monkeypatch.setattr(FailingExecutor, "error", ValueError("no host"))
    beside = gather(box(add)(1), held(add)(1)).submit()
    call = begun()
    with pytest.raises(PluginError) as caught:
        failing(add)(1)()
    assert str(caught.value) == (
        f"@failing of {__name__} can't make its executor: ValueError: no host"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert "failing" in caught.value.plugin
    # In the same run nothing is begun.
    ran = []
    with pytest.raises(PluginError, match="no host"):
        gather(thread(ran.append)(1), failing(add)(1))()
    assert ran == []
    call.succeeded(5)
    assert beside.result(PATIENCE) == [2, 5]
    # It is tried again.
    monkeypatch.setattr(FailingExecutor, "error", None)
    assert failing(add)(1)() == 2


def test_an_executor_that_is_interrupted_while_it_is_made(monkeypatch):
    monkeypatch.setattr(FailingExecutor, "error", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        failing(add)(1)()
    assert not entries()
    monkeypatch.setattr(FailingExecutor, "error", None)
    assert failing(add)(1)() == 2


def test_an_executor_that_cannot_be_shut_down(monkeypatch, caplog):
    monkeypatch.setattr(FailingExecutor, "closing", "raise")
    assert gather(failing(add)(1), box(add)(1))() == [2, 2]
    shutdown()
    assert all(each.shut.is_set() for each in BoxExecutor.made[1:])
    (record,) = caplog.records
    assert f"@failing of {__name__}: shutdown() failed" in record.getMessage()


def test_an_executor_that_is_never_shut_down(monkeypatch, caplog):
    monkeypatch.setattr(FailingExecutor, "closing", "hang")
    monkeypatch.setattr(hosted, "GRACE", 0.05)
    assert gather(failing(add)(1), box(add)(1))() == [2, 2]
    shutdown()
    (record,) = caplog.records
    assert "@failing of" in record.getMessage()
    assert "shutdown() has not returned within 0.05 s" in record.getMessage()
    FailingExecutor.release.set()
    until(lambda: all(made.shut.is_set() for made in BoxExecutor.made))


# -- executors that misbehave ------------------------------------------------------


def test_only_the_first_report_of_an_end_counts():
    node = held(add)(1)
    for first, second in (("succeeded", "failed"), ("succeeded", "succeeded")):
        future = node.submit()
        call = begun()
        getattr(call, first)(5)
        getattr(call, second)(ValueError("no"))
        call.cancelled("killed")
        call.started()
        assert future.result(PATIENCE) == 5
    future = node.submit()
    call = begun()
    call.failed(ValueError("no"))
    call.succeeded(5)
    with pytest.raises(ValueError, match="no"):
        future.result(PATIENCE)
    call.failed(ValueError("late"))
    call.succeeded(thread(add)(1))
    assert thread(add)(1)() == 2


def test_reports_of_an_attempt_that_is_over_do_not_touch_the_next():
    future = task(retry=1)(held(add))(1).submit()
    first = begun()
    first.failed(ValueError("first"))
    second = begun()
    assert second is not first
    first.succeeded("late")
    first.cancelled("killed")
    second.succeeded("second")
    assert future.result(PATIENCE) == "second"


def test_reports_from_many_threads_at_once():
    future = gather(*[held(add)(n) for n in range(40)]).submit()
    calls = [begun() for _ in range(40)]
    barrier = threading.Barrier(4)

    def report(mine):
        barrier.wait()
        for call in mine:
            call.started()
            call.succeeded(call.args[0])

    threads = [
        threading.Thread(target=report, args=(calls[index % 2 :: 2],))
        for index in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert future.result(PATIENCE) == list(range(40))


def test_an_executor_that_never_answers_a_cancel(monkeypatch):
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.05)
    future = held(add)(1).submit()
    call = begun()
    future.cancel()
    assert asked() is call
    until(lambda: future.cancelled_how() == "unconfirmed")
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)
    # What it says in the end concerns nobody.
    call.succeeded(5)
    call.output("stdout", "")
    assert thread(add)(1)() == 2


def test_an_executor_that_never_answers_a_timeout(monkeypatch):
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.05)
    future = task(timeout=0.05)(held(add))(1).submit()
    call = begun()
    call.started()
    assert asked() is call
    with pytest.raises(ProcessTimeoutException) as caught:
        future.result(PATIENCE)
    assert (caught.value.phase, caught.value.node) == ("body", "add")
    call.succeeded(5)


def test_an_executor_that_never_starts(monkeypatch):
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.05)
    future = task(start=0.05)(held(add))(1).submit()
    call = begun()
    with pytest.raises(ProcessTimeoutException) as caught:
        future.result(PATIENCE)
    assert caught.value.phase == "start"
    assert asked() is call


class InterruptingExecutor(HeldExecutor):
    """Sends the main thread what Ctrl-C sends."""

    def start(self, call):
        super().start(call)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


interrupting = infrastructure(InterruptingExecutor, name="interrupting")


def test_ctrl_c_while_an_executor_does_not_answer(monkeypatch):
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.05)
    with pytest.raises(KeyboardInterrupt):
        interrupting(add)(1)()
    call = begun()
    assert asked() is call
    assert thread(add)(1)() == 2


@pytest.mark.parametrize("stuck", ["start", "cancel"])
def test_an_executor_that_is_stuck(monkeypatch, stuck):
    monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.05)
    entered, release = threading.Event(), threading.Event()

    def hang(self, call, grace=None):
        entered.set()
        assert release.wait(PATIENCE)

    monkeypatch.setattr(HeldExecutor, stuck, hang)
    future = held(add)(1).submit()
    if stuck == "start":
        assert entered.wait(PATIENCE)
    else:
        begun()
    future.cancel()
    until(lambda: future.cancelled_how() == "unconfirmed")
    # Other places go on.
    assert box(add)(1)() == 2
    release.set()


def test_an_executor_that_raises_in_start(monkeypatch):
    error = ValueError("full")

    def refuse(self, call):
        raise error

    monkeypatch.setattr(HeldExecutor, "start", refuse)
    with pytest.raises(ValueError, match="full") as caught:
        held(add)(1)()
    assert caught.value is error
    error = SystemExit(3)
    with pytest.raises(TaskError, match="SystemExit"):
        held(add)(1)()
    assert box(add)(1)() == 2


def test_an_executor_that_raises_after_its_report(monkeypatch):
    def report(self, call):
        call.succeeded(7)
        raise ValueError("late")

    monkeypatch.setattr(HeldExecutor, "start", report)
    assert held(add)(1)() == 7


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_an_executor_that_raises_in_cancel(monkeypatch, caplog, error):
    how = "cannot kill"
    if not isinstance(error, Exception):
        how = "unconfirmed"  # nobody answers
        monkeypatch.setattr("entangle._engine_deadlines.GRACE", 0.05)

    def refuse(self, call, grace):
        raise error

    monkeypatch.setattr(HeldExecutor, "cancel", refuse)
    future = held(add)(1).submit()
    begun()
    future.cancel()
    until(lambda: future.cancelled_how() is not None)
    assert future.cancelled_how() == how
    assert box(add)(1)() == 2
    until(lambda: any(record.exc_info[1] is error for record in caplog.records))


class HomelyError(Exception):
    def __reduce__(self):
        raise TypeError("stays at home")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (HomelyError("no"), HomelyError, "no"),
        (KeyboardInterrupt(), TaskError, "KeyboardInterrupt"),
        (SystemExit(3), TaskError, "SystemExit: 3"),
        (GeneratorExit(), TaskError, "GeneratorExit"),
        (StopIteration(3), TaskError, "StopIteration"),
        (concurrent.futures.CancelledError("x"), TaskError, "CancelledError"),
        (BaseExceptionGroup("x", [KeyboardInterrupt()]), BaseException, "x"),
        ("broken", TaskError, "str: 'broken' is no exception"),
        (None, TaskError, "NoneType: None is no exception"),
        (ValueError, TaskError, "is no exception"),
    ],
)
def test_errors_of_an_executor(error, kind, words):
    future = held(add)(1).submit()
    begun().failed(error)
    with pytest.raises(kind) as caught:
        future.result(PATIENCE)
    assert words in str(caught.value)
    assert type(caught.value) is not KeyboardInterrupt


@pytest.mark.parametrize("word", ["vanished", None, 7, ["killed"]])
def test_a_cancel_that_is_answered_strangely(word):
    future = held(add)(1).submit()
    begun()
    future.cancel()
    asked().cancelled(word)
    until(lambda: future.cancelled_how() is not None)
    assert future.cancelled_how() == "unconfirmed"
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)


@pytest.mark.parametrize("word", ["killed", "abandoned", "already done", "cannot kill"])
def test_a_cancel_is_told_as_the_executor_tells_it(word):
    future = held(add)(1).submit()
    begun()
    future.cancel()
    asked().cancelled(word)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)
    assert future.cancelled_how() == word


def test_a_call_that_its_place_has_ended_unasked():
    future = held(add)(1).submit()
    begun().cancelled("killed")
    with pytest.raises(TaskError, match="the place ended add unasked"):
        future.result(PATIENCE)


@pytest.mark.parametrize(
    "at", ["now", None, True, 7, -1.0, 0.0, float("nan"), float("inf"), float("-inf")]
)
def test_a_start_at_no_time(at):
    """A time that can't be means now: the deadline neither passes nor is lost."""
    future = task(timeout=60)(held(add))(1).submit()
    call = begun()
    call.started(at)
    call.succeeded(5)
    assert future.result(PATIENCE) == 5


@pytest.mark.parametrize("at", ["now", float("nan"), float("inf"), float("-inf"), 0.0])
def test_a_deadline_holds_whatever_a_start_says(at):
    late = task(timeout=0.2)(held(add))(1)
    future = late.submit()
    begun().started(at)
    asked().cancelled("killed")
    with pytest.raises(ProcessTimeoutException) as caught:
        future.result(PATIENCE)
    assert caught.value.phase == "body"


def test_a_start_that_is_told_twice_or_late():
    future = task(timeout=60)(held(add))(1).submit()
    call = begun()
    call.started()
    call.started()
    call.succeeded(5)
    call.started()
    assert future.result(PATIENCE) == 5


def test_output_of_an_executor_is_the_callers(capfd):
    future = held(add)(1).submit()
    call = begun()
    call.output("stdout", "one\n")
    call.output("stderr", "two\n")
    call.succeeded(5)
    assert future.result(PATIENCE) == 5
    assert capfd.readouterr() == ("one\n", "two\n")


def test_async_functions_and_returned_nodes():
    async def later(number):
        return number

    assert box(later)(3)() == 3
    assert box(lambda: [box(add)(1), thread(add)(2)])()() == [2, 3]
    assert len(BoxExecutor.made) == 1


def test_limits_hold_at_a_place():
    future = gather(*map(task(limit=2)(held(add)), range(3))).submit()
    first, second = begun(), begun()
    assert HeldExecutor.started.empty()
    first.succeeded(1)
    third = begun()
    second.succeeded(2)
    third.succeeded(3)
    assert future.result(PATIENCE) == [1, 2, 3]


# -- in workers -----------------------------------------------------------------------


class FileExecutor(BoxExecutor):
    """Leaves a trace of its life.

    Args:
        path: Where.
    """

    def __init__(self, *, path: str):
        super().__init__()
        self.path = path
        self.log("made")

    def log(self, what):
        with open(self.path, "a") as file:
            file.write(f"{what} in {os.getpid()}\n")

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.log("shut")
        super().shutdown(wait, cancel_futures=cancel_futures)


file_box = infrastructure(FileExecutor, name="file_box")


@pytest.mark.process
def test_a_place_that_is_used_inside_of_a_worker(tmp_path):
    path = str(tmp_path / "log")
    first, second = file_box(path=path)(add), file_box(path=path)(where)

    def outer():
        pid, _ = second()()
        return pid, os.getpid(), first(1)()

    inner, pid, value = process(outer)()()
    assert inner == pid != os.getpid()
    assert value == 2
    # It is over when its task is.
    assert (tmp_path / "log").read_text() == f"made in {pid}\nshut in {pid}\n"
    process(outer)()()
    assert (tmp_path / "log").read_text().count("made") == 2


@pytest.mark.process
def test_a_failing_place_inside_of_a_worker():
    def outer():
        FailingExecutor.error = ValueError("no host")
        return failing(add)(1)()

    with pytest.raises(PluginError, match="no host"):
        process(outer)()()
    assert process(add)(1)() == 2


@pytest.mark.process
def test_named_executors_inside_of_a_worker():
    def outer():
        names = ("thread", "inline")
        return [task(executor=name)(add)(1)() for name in names]

    assert process(outer)()() == [2, 2]


SCRIPT = """
from entangle.backend import Executor, infrastructure
from entangle.process import process
from entangle.task import gather
class NearExecutor(Executor):
    def __init__(self):
        super().__init__()
        print("made", flush=True)
    def start(self, call): call.succeeded(call.invoke())
    def cancel(self, call, grace): ...
near = infrastructure(NearExecutor)
@near
def double(number): return 2 * number
@process
def more(): return double(4)
print(gather(double(3), more())())
"""


@pytest.mark.process
def test_a_place_of_a_script_is_the_same_when_a_worker_returns_it(tmp_path):
    assert output_of(SCRIPT, path=tmp_path / "script.py") == "made\n[6, 8]\n"


@pytest.mark.process
def test_a_place_of_a_module_is_the_same_when_a_worker_returns_it():
    twice = box(add)
    assert gather(twice(1), process(lambda: twice(2))())() == [2, 3]
    assert len(BoxExecutor.made) == 1


EXIT = """
from entangle.backend import Executor, infrastructure
class NearExecutor(Executor):
    def start(self, call): call.succeeded(call.invoke())
    def cancel(self, call, grace): ...
    def shutdown(self, wait=True, *, cancel_futures=False):
        print("shut", flush=True)
near = infrastructure(NearExecutor)
print(near(int)("3")())
"""


@pytest.mark.process
def test_executors_are_shut_down_when_the_program_ends(tmp_path):
    assert output_of(EXIT, path=tmp_path / "script.py") == "3\nshut\n"


def test_executors_of_core_are_no_exception():
    """What core has itself is made and shut down like any place."""
    assert issubclass(ProcessExecutor, Executor)
    assert task(executor="thread")(add)(1)() == 2
    (entry,) = entries().values()
    assert type(entry.executor) is ThreadExecutor
    shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        entry.executor.submit(add, 1)
