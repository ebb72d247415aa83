"""`node.plan()` and `entangle plan`: what would run where, without running."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from site_kit import Site, new_site

from entangle._run.plan import Plan
from entangle._seam.planned import PlannedTask
from entangle.backend import Capabilities, Executor, context, infrastructure
from entangle.dataflow import dataflow
from entangle.errors import OptionError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import gather, task
from entangle.thread import thread
from entangle.workflow import workflow


class NeverExecutor(Executor):
    """Must not even be made.

    Args:
        size: How big.
        token: A secret.
    """

    capabilities = Capabilities(kill=True)

    def __init__(self, *, size: int = 1, token: str = ""):
        raise AssertionError("a plan makes no executor")

    def start(self, call):
        raise NotImplementedError

    def cancel(self, call, grace):
        raise NotImplementedError


def _account(*, user: str = "nobody"):
    """Say who: user."""
    raise AssertionError("a plan asks for no settings")


account = context(_account, name="account")
never = infrastructure(NeverExecutor, secrets=["token"])
at_work = infrastructure(NeverExecutor, name="at_work", calls_like=len)


@pytest.fixture(autouse=True)
def _as_it_is(monkeypatch):
    for name in ("ENTANGLE_TARGETS", "ENTANGLE_INLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runs(tmp_path):
    """Give a function that leaves a file, and see that it never does."""
    path = tmp_path / "ran"

    def run(*_):
        path.touch()

    yield run
    assert not path.exists()


def only(node):
    """Return the one entry of a plan."""
    (entry,) = node.plan().tasks
    return entry


def test_places_of_this_machine(runs):
    plan = gather(
        process(runs)(),
        thread(runs)(),
        workflow(runs)(),
        task(runs)(),
    ).plan()
    assert isinstance(plan, Plan)
    assert [entry.place for entry in plan.tasks] == [
        "process",
        "thread",
        "caller",
        "process",
    ]
    for entry in plan.tasks:
        assert type(entry) is PlannedTask
        assert entry.name == runs.__qualname__
        assert (entry.target, entry.options, entry.instead_of) == ("", {}, "")
        assert (entry.refused, entry.relaxed, entry.notes, entry.asks) == (
            *("", (), (), ()),
        )
    assert plan.refused == ()
    assert repr(plan) == "<plan of 4 tasks, 0 refused>"


def test_calls_are_counted_by_task(runs):
    one, two = process(runs), thread(runs)
    first = one(1)
    node = two(gather(first, *[one(first) for _ in range(3)]), first)
    inner, outer = node.plan().tasks
    assert (inner.place, inner.calls) == ("process", 4)
    assert (outer.place, outer.calls) == ("thread", 1)
    assert inner.built_at == first.where
    assert outer.built_at == node.where


def test_tasks_come_in_the_order_in_which_they_could_run(runs):
    names = ["one", "two", "three"]
    functions = [lambda *_: runs() for _ in names]
    for function, name in zip(functions, names, strict=True):
        function.__qualname__ = name
    one, two, three = map(process, functions)
    plan = three(two(one()), one()).plan()
    assert [entry.name for entry in plan.tasks] == names


def test_what_a_task_asks_for(runs):
    asks = process(timeout=3, retry=2, fresh=True, wait=None)(
        local(cpus=2)(account(user="me")(runs))
    )
    assert set(only(asks()).asks) == {
        *("timeout=3", "retry=2", "fresh=True", "cpus=2", "@account(user='me')")
    }
    assert "@scheduler" in only(scheduler(cpus=2)(runs)()).asks
    assert only(process(timeout=None, retry=0, fresh=False)(runs)()).asks == ()


def test_a_target(runs):
    entry = only(account(user="me")(never(size=3, token="hunter2")(runs))())
    assert entry.place == "never(size=3, token=…)"
    assert entry.target == "never"
    assert entry.options == {"size": 3}
    assert entry.asks == ("@account(user='me')",)
    assert entry.refused == ""
    bare = only(never(runs)())
    assert (bare.place, bare.options) == ("never()", {})
    assert only(task(executor=never(size=3))(runs)()).place == "never(size=3)"


def test_a_place_that_has_the_work():
    entry = only(at_work(len)([1]))
    assert (entry.place, entry.target, entry.refused) == ("at_work()", "at_work", "")


def test_named_and_given_executors(runs):
    entry = only(task(executor="thread")(runs)())
    assert (entry.place, entry.refused) == ("thread", "")

    class Given(NeverExecutor):
        def __init__(self):
            Executor.__init__(self)

        def __repr__(self):
            return "<mine>"

    entry = only(task(executor=Given())(runs)())
    assert (entry.place, entry.target, entry.refused) == ("<mine>", "", "")


def test_places_of_core_by_name_are_no_targets(runs):
    """They are of this process and its workers, and nobody estimates them."""
    for name in ("process", "thread", "inline"):
        assert only(task(executor=name)(runs)()).target == ""


def test_replaced_by_this_machine(monkeypatch, runs):
    monkeypatch.setenv("ENTANGLE_TARGETS", "never=local")
    entry = only(task(timeout=3)(never(size=3)(runs))())
    assert (entry.place, entry.target) == ("process", "")
    assert entry.instead_of == "never(size=3)"
    assert entry.relaxed == ()
    assert entry.asks == ("timeout=3",)


def test_replaced_by_a_name(monkeypatch, runs):
    monkeypatch.setenv("ENTANGLE_TARGETS", "*=thread")
    entry = only(task(timeout=3, retry=1)(never(runs))())
    assert entry.place == "thread"
    assert entry.instead_of == "never()"
    assert entry.relaxed == ("timeout: it cannot end a running call",)
    assert entry.refused == ""


def test_inline(monkeypatch, runs):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    entry = only(process(timeout=3, retry=2, limit=4)(runs)())
    assert entry.place == "inline"
    assert entry.instead_of == "process"
    # What is honoured there is not said to be left out.
    assert [text.partition("=")[0].partition(":")[0] for text in entry.relaxed] == [
        "timeout"
    ]
    assert only(never(size=3)(runs)()).instead_of == "never(size=3)"


@pytest.mark.parametrize(
    ("decorated", "words"),
    [
        (task(executor="xyzzy"), "no executor named 'xyzzy' is registered"),
        (task(executor="thread", timeout=3), "cannot honour timeout=3"),
    ],
)
def test_what_is_refused(runs, decorated, words):
    plan = gather(decorated(runs)(), thread(runs)()).plan()
    bad, good = plan.tasks
    assert words in bad.refused
    assert good.refused == ""
    assert plan.refused == (bad,)
    assert repr(plan) == "<plan of 2 tasks, 1 refused>"
    assert f"\n  refused: {bad.refused}\n" in str(plan)


def test_replacements_that_make_no_sense(monkeypatch, runs):
    monkeypatch.setenv("ENTANGLE_TARGETS", "what")
    with pytest.raises(OptionError, match="not of the form name=place"):
        thread(runs)().plan()


def test_the_text():
    def double(value):
        return 2 * value

    thrice = process(timeout=3)(double)
    node = gather(*[thrice(n) for n in range(1200)], never(size=3)(double)(1))
    name, here = double.__qualname__, re.escape(__file__)
    first, second, total = str(node.plan()).splitlines()
    assert re.fullmatch(
        rf"{name}: 1,200 calls in process, timeout=3 \({here}:\d+\)", first
    )
    assert re.fullmatch(rf"{name}: 1 call in never\(size=3\) \({here}:\d+\)", second)
    assert total == "1,201 calls of 2 tasks"


def test_data(runs):
    plan = gather(process(timeout=3)(runs)(), never(size=3, token="hunter2")(runs)())
    first, second = plan.plan().as_data()["tasks"]
    assert (first["place"], first["asks"], first["calls"]) == (
        "process",
        ("timeout=3",),
        1,
    )
    assert (second["target"], second["options"]) == ("never", {"size": 3})
    assert "hunter2" not in str(second)


def test_a_flow(runs):
    def choose(value):
        return None

    work = dataflow(runs)
    flow = work(work(), dataflow(process(runs))(work()), choose)
    here, there = flow.plan().tasks
    assert (here.place, here.calls, there.place, there.calls) == (
        *("thread", 3),
        *("process", 1),
    )


def test_hostile_text_is_neutralised(runs):
    named = process(runs)
    runs.__qualname__ = "\x1b[2Jevil"
    assert "\x1b" not in str(process(runs)(named()).plan())


def test_a_node_that_has_no_tasks():
    assert gather().plan().tasks == ()
    assert str(gather().plan()) == ""


def test_a_deep_graph(runs):
    node = again = thread(runs)
    node = again()
    for _ in range(5000):
        node = again(node)
    assert only(node).calls == 5001


# -- what plugins know -------------------------------------------------------------

ESTIMATES = """
SEEN = []
@hookimpl
def entangle_estimate(task):
    SEEN.append(task)
    return [f"{task.calls} calls at {task.options.get('size')} each", "no more"]
"""
FAILS = """
@hookimpl
def entangle_estimate(task):
    raise ValueError("no network")
"""


@pytest.fixture
def estimates(tmp_path, monkeypatch):
    """Two plugins that estimate, one of which fails; what the other has seen."""
    for site in new_site(tmp_path, monkeypatch):
        site.add("estimating", ESTIMATES)
        site.add("erring", FAILS)
        site.use(monkeypatch)
        yield site.module("estimating").SEEN


def test_notes_of_plugins(estimates, runs, caplog):
    never_runs = never(size=3, token="hunter2")(runs)
    plan = gather(never_runs(), never_runs(), thread(runs)(), process(runs)()).plan()
    assert plan.tasks[0].notes == ("2 calls at 3 each", "no more")
    assert [entry.notes for entry in plan.tasks[1:]] == [(), ()]
    # Asked once a task, for places that are not here, and told no secrets.
    (seen,) = estimates
    assert seen.place == "never(size=3, token=…)"
    assert "token" not in seen.options
    assert "\n  2 calls at 3 each\n  no more\n" in str(plan)
    (record,) = caplog.records
    assert (
        "'erring' (erring-dist): entangle_estimate() failed: ValueError: no network"
        in (record.getMessage())
    )


def test_what_is_refused_is_not_estimated(estimates, runs):
    plan = task(executor="xyzzy")(runs)().plan()
    assert plan.refused[0].notes == ()
    assert estimates == []


def test_what_is_replaced_by_this_machine_is_not_estimated(
    estimates, runs, monkeypatch
):
    monkeypatch.setenv("ENTANGLE_TARGETS", "*=local")
    assert only(never(runs)()).notes == ()
    assert estimates == []


# -- the command ----------------------------------------------------------------------

PROGRAM = """
from pathlib import Path
from entangle.backend import Executor, infrastructure
from entangle.process import process
from entangle.task import task
from entangle.workflow import workflow

class FarExecutor(Executor):
    "Far."
    def __init__(self): raise AssertionError
    def start(self, call): ...
    def cancel(self, call, grace): ...

far = infrastructure(FarExecutor)

@process
def touch(path="ran"):
    Path(path).touch()

@workflow
def flow():
    Path("ran").touch()
    return touch()

@far
def away():
    Path("ran").touch()

@task(executor="thread", timeout=3)
def refused():
    Path("ran").touch()

@process
def needs(argument):
    Path("ran").touch()

def plain():
    return away()

def breaks():
    return 1 / 0

VALUE = 7
result = touch(touch())
"""


@pytest.fixture
def entangle_plan(tmp_path):
    """Run `entangle plan` on a name of the program; nothing may run."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(name, *more, source=None, **variables):
        if source is not None:
            (tmp_path / "program.py").write_text(source)
        environment = {**os.environ, **variables}
        environment.setdefault("ENTANGLE_DISABLE_PLUGINS", "1")
        done = subprocess.run(
            [sys.executable, "-m", "entangle", "plan", f"program.py{name}", *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    yield run
    assert not (tmp_path / "ran").exists()


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("", r"touch: 2 calls in process \(.*program.py:\d+\)"),
        (":result", r"touch: 2 calls in process \(.*\)"),
        (":touch", r"touch: 1 call in process \(.*\)"),
        (":flow", r"flow: 1 call in caller \(.*\)"),
        (":away", r"away: 1 call in far\(\) \(.*\)"),
        (":plain", r"away: 1 call in far\(\) \(.*program.py:\d+\)"),
    ],
)
def test_the_command_prints_the_plan(entangle_plan, name, out):
    code, printed, err = entangle_plan(name)
    assert (code, err) == (0, "")
    assert re.fullmatch(out + "\n", printed)


@pytest.mark.process
def test_the_command_with_replaced_targets(entangle_plan):
    code, out, err = entangle_plan(":away", "--here", ENTANGLE_TARGETS="far=thread")
    assert (code, err) == (0, "")
    assert "in process" in out
    assert "  instead of far()\n" in out
    code, out, err = entangle_plan(":away", ENTANGLE_TARGETS="far=thread")
    assert (code, err) == (0, "")
    assert "in thread" in out


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":VALUE", "is no node or flow, and makes none"),
        (":no_such", "defines no 'no_such'"),
        (":toch", "did you mean 'touch'?"),
    ],
)
def test_usage(entangle_plan, name, words):
    code, out, err = entangle_plan(name)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.process
def test_json(entangle_plan):
    code, out, err = entangle_plan(":refused", "--json")
    (task,) = json.loads(out)["tasks"]
    assert (code, err, task["name"], task["calls"]) == (3, "", "refused", 1)
    assert "cannot honour timeout=3" in task["refused"]


@pytest.mark.process
def test_what_the_file_prints_goes_to_stderr(entangle_plan):
    source = "print('loud')\n" + PROGRAM
    code, out, err = entangle_plan("", "--json", source=source)
    assert (code, err) == (0, "loud\n")
    assert json.loads(out)["unused"] == {}


@pytest.mark.process
def test_a_file_that_is_not_there(entangle_plan):
    assert entangle_plan("x")[0] == 2


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":needs", "TypeError"),
        (":breaks", "ZeroDivisionError"),
    ],
)
def test_what_builds_no_graph(entangle_plan, name, words):
    code, out, err = entangle_plan(name)
    assert (code, out) == (3, "")
    assert f"entangle: program.py{name} can't be planned" in err
    assert words in err


@pytest.mark.process
def test_what_is_refused_is_an_exit_code(entangle_plan):
    code, out, err = entangle_plan(":refused")
    assert (code, err) == (3, "")
    assert "refused: 1 call in thread, timeout=3" in out
    assert "  refused: refused: the executor 'thread' cannot honour timeout=3" in out


@pytest.mark.process
def test_a_file_that_does_not_load(entangle_plan):
    code, out, err = entangle_plan("", source="1 +")
    assert (code, out) == (3, "")
    assert "SyntaxError" in err


@pytest.mark.process
def test_replacements_that_make_no_sense_are_an_exit_code(entangle_plan):
    code, out, err = entangle_plan("", ENTANGLE_TARGETS="what")
    assert (code, out) == (3, "")
    assert "'what' is not of the form name=place" in err


@pytest.mark.process
def test_the_command_asks_plugins(entangle_plan, tmp_path):
    site = Site(tmp_path / "site")
    site.add("estimating", ESTIMATES)
    code, out, err = entangle_plan(
        ":away", PYTHONPATH=str(site.folder), ENTANGLE_DISABLE_PLUGINS=""
    )
    assert (code, err) == (0, "")
    assert out.endswith("\n  1 calls at None each\n  no more\n")
    assert not Path(tmp_path / "ran").exists()


def test_a_misspelt_target_is_told(monkeypatch):
    monkeypatch.setenv("ENTANGLE_TARGETS", "elsewere=local,other=local,*=local")
    there = infrastructure(NeverExecutor, name="elsewhere")
    plan = there(abs)(-1).plan()
    assert dict(plan.unused) == {"elsewere": "elsewhere", "other": ""}
    assert str(plan).endswith(
        "ENTANGLE_TARGETS: 'elsewere' replaces nothing here; did you mean 'elsewhere'?\n"
        "ENTANGLE_TARGETS: 'other' replaces nothing here"
    )


def test_what_is_kept_is_said(tmp_path, monkeypatch):
    import threading

    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))

    @thread(cache=True)
    def kept(x):
        return x

    @thread(cache=True)
    def once(x):
        return x

    kept(1)()
    (planned,) = kept(1).plan().tasks
    assert planned.cached == 1
    assert "its value is kept already" in str(kept(1).plan())
    assert "its value is not kept already" in str(kept(2).plan())
    graph = once([kept(1), kept(2), kept(kept(1))])
    first, second = graph.plan().tasks
    assert (first.cached, first.calls, second.cached) == (2, 4, 0)
    assert "2 of the values are kept already" in str(graph.plan())
    (refused,) = kept(threading.Lock()).plan().refused
    assert "argument 'x'" in refused.refused
