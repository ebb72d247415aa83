"""A failure's report shows the user's code, values and what to do, and nothing of ours."""

import copy
import os
import pickle
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import entangle._cli.load
from entangle._clean import columns
from entangle._graph.shown import shown
from entangle._run import failed as kept
from entangle._run.reporting.user_traceback import user_traceback
from entangle.dataflow import dataflow
from entangle.process import process
from entangle.run import failure_report, observe
from entangle.task import as_completed, gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


def failed(action):
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("it should have failed")


def report(action, **hints):
    """Return the report of what was observed, without times."""
    with observe(lambda event: None):
        text = failure_report(failed(action), hints.items())
    return re.sub(r" · [0-9.]+ [mµ]?s( · |$)", r"\1", text, flags=re.MULTILINE)


def through_us(path="/nowhere.py"):
    entangle._cli.load.load(Path(path), [])


# -- tracebacks of what no node has raised -------------------------------------------


def test_our_frames_are_hidden():
    """Only the user's frames remain."""
    text = user_traceback(failed(through_us))
    assert "through_us" in text
    assert "load.py" not in text
    assert text.endswith("no file '/nowhere.py'")
    assert failure_report(failed(through_us)) == text


def test_our_frames_on_demand(monkeypatch):
    """ENTANGLE_FULL_TRACEBACK shows them all."""
    monkeypatch.setenv("ENTANGLE_FULL_TRACEBACK", "1")
    assert "load.py" in user_traceback(failed(through_us))


def test_causes_and_groups_and_notes():
    """The whole chain is cleaned, groups included, and notes are shown."""

    def chained():
        try:
            through_us()
        except Exception as error:
            error.add_note("in node f")
            raise ExceptionGroup("several", [error]) from error

    text = user_traceback(failed(chained))
    assert "load.py" not in text
    assert text.count("in node f") == 2


# -- of nodes --------------------------------------------------------------------------


@process
def one():
    return 1


@process
def table():
    return np.zeros((1000, 3))


@process
def divide(a, b):
    print("dividing")
    return a // (b.size - b.size)


@thread
def add(a, b):
    return a + b


def test_a_node():
    """All of it, in the form that people get."""
    text = report(lambda: add(divide(one(), table()), 1)(), again="entangle run x")
    here = re.escape(f"{__file__}")
    expected = rf"""✗ divide failed · process \d+
  (?:{here}|tests/core/test_run_report.py):\d+:\d+   text = report\(lambda: add\(divide\(one\(\), table\(\)\), 1\)\(\), again="entangle run x"\)
 +\^{{22}}
  a = 1                           from one\(\)   .*test_run_report.py:\d+
  b = ndarray float64 \(1000, 3\)   from table\(\)   .*test_run_report.py:\d+
  .*test_run_report.py:\d+ in divide     return a // \(b.size - b.size\)
  ZeroDivisionError: integer division or modulo by zero
  printed    dividing
  not run    add \(.*test_run_report.py:\d+\) · 2 finished
  again      entangle run x"""
    assert re.fullmatch(expected, text), text


def test_what_had_begun_is_not_called_not_run():
    begun, released = threading.Event(), threading.Event()

    @thread
    def stays():
        begun.set()
        released.wait(60)

    @thread
    def fails():
        begun.wait(60)
        raise ValueError

    try:
        text = report(lambda: add(fails(), stays())())
    finally:
        released.set()
    assert re.search(r"^  unfinished add \(.*\), 1 more$", text, re.MULTILINE), text


def marked(text):
    """Return what the caret of a report is under."""
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip("^ ") == "" != line)
    before, carets = lines[at].count(" "), lines[at].count("^")
    for start in range(len(lines[at - 1])):
        if columns(lines[at - 1][:start]) == before:
            break
    for end in range(start, len(lines[at - 1]) + 1):
        if columns(lines[at - 1][start:end]) == carets:
            break
    return lines[at - 1][start:end]


def test_the_caret_is_under_the_call():
    assert marked(report(add(1, ("é→日本", "ключ")))) == 'add(1, ("é→日本", "ключ"))'
    bad = [add(number, "x") for number in range(3)]
    assert marked(report(bad[1])) == 'add(number, "x")'
    long = add(1, add(1, add(1, add(1, add(1, add(1, add(1, add(1, add(1, add(1, "x"))))))))))  # fmt: skip
    assert marked(report(long)) == 'add(1, "x")'
    lines = add(
        1,
        "x",
    )
    assert marked(report(lines)) == "add("


def test_without_positions_there_is_no_caret(tmp_path):
    """As with ``-X no_debug_ranges``, and for nodes that were built elsewhere."""

    @process
    def returns():
        return divide(1, np.zeros(1))

    text = report(returns())
    assert "✗ divide failed" in text
    assert "return divide(1, np.zeros(1))" in text
    assert "^" not in text


class Rude:
    def __repr__(self):
        raise ValueError("no")


class Slow:
    def __repr__(self):
        while True:
            pass


class Long:
    def __repr__(self):
        return "x" * 10_000_000


class Escaping:
    def __repr__(self):
        return "\x1b[2J\x1b]0;title\x07\u202e"


@thread
def takes(*values, **named):
    raise ValueError("no")


def test_values_that_can_hardly_be_shown():
    text = report(
        takes(Rude(), Slow(), Long(), Escaping(), "x" * 10_000_000, k=[1] * 1000)
    )
    lines = text.splitlines()
    assert "  values[0] = <a value whose repr raises ValueError>" in lines
    assert "  values[1] = <Slow: its repr takes too long>" in lines
    assert any(line.startswith("  values[2] = xxx") for line in lines)
    assert "  values[3] = ␛[2J␛]0;title␇\\u202e" in lines
    assert any("(10,000,000 characters)" in line for line in lines)
    assert "  k = [1, 1, 1, 1, 1, 1, …] (1,000 items)" in lines
    assert max(map(len, lines)) < 200


def test_what_hangs_is_asked_once():
    begun = time.monotonic()
    for _ in range(50):
        shown([Slow()] * 6)
    assert time.monotonic() - begun < 20
    assert not [t for t in threading.enumerate() if t.name == "entangle-show"]


def test_where_values_came_from():
    text = report(takes(one(), [one(), one()], {"x": table()}, 5, key=one()))
    assert "values[0] = 1 " in text
    assert re.search(r"values\[1\] = \[1, 1\] +from one\(\) … 2 calls", text)
    assert re.search(r"values\[2\] = \{'x': ndarray .*\} +from table\(\)", text)
    assert re.search(r"values\[3\] = 5$", text, re.MULTILINE)
    assert re.search(r"key = 1 +from one\(\)", text)
    many = report(takes(*range(100), k=1))
    assert "… and 89 more arguments" in many
    nodes = [one() for _ in range(30)]
    assert "… and 18 more arguments" in report(takes(*nodes))
    assert re.search(r"values\[0\] = .* \(30 items\)", report(takes(nodes)))
    text = report(divide([one(), table()], 1))
    assert "a = [1, ndarray float64 (1000, 3)]   from" in text
    large = [table() for _ in range(30)]
    assert re.search(r"values\[0\] = list of 30 +from", report(takes(large)))
    text = report(divide(large, 1))
    assert re.search(r"a = list of 30 +from table\(\) … 30 calls", text)


class UnreadableError(Exception):
    def __str__(self):
        raise ValueError("no")


@thread
def raises(error):
    raise error


def test_messages():
    text = report(raises(UnreadableError()))
    assert "UnreadableError: <its __str__ raises ValueError>" in text
    text = report(raises(ValueError("\x1b[2J\n" + "line\n" * 100 + "x" * 10_000_000)))
    assert "ValueError: ␛[2J" in text
    assert "more lines" in text
    assert len(text) < 5000
    error = KeyError("x")
    error.add_note("look\there")
    assert "\n    look\there\n" in report(raises(error)) + "\n"


def test_causes():
    @thread
    def caused():
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("no") from error

    assert "\n  because of KeyError: 'x'" in report(caused())

    @thread
    def again():
        try:
            {}["x"]
        except KeyError as error:
            raise KeyError("x") from error

    text = report(again())
    assert "because of" not in text

    @thread
    def handling():
        try:
            {}["x"]
        except KeyError:
            raise ValueError("no")  # noqa: B904 - on purpose

    assert "\n  during     KeyError: 'x'" in report(handling())


def test_what_cannot_be_sent():
    """The call is shown, though nothing has run; and nothing of how we pickle."""

    @process
    def locks():
        return threading.Lock()

    @process
    def takes(x):
        return x

    for text, parameter in (
        (report(add(one(), takes({"k": [threading.Lock()]}))), "argument 'x'['k'][0]"),
        (report(locks()), "result"),
    ):
        assert re.match(r"✗ \S*(takes|locks) failed · process", text), text
        assert f"UnpicklableError: {parameter} of " in text
        assert text.count("because of TypeError: cannot pickle") == 1
        assert "EncodeError" not in text
        assert "during" not in text
    error = failed(takes(threading.Lock()))
    assert [note for note in error.__notes__ if note.startswith("in node ")]


def test_a_group_of_errors():
    """One that a task has raised says what is in it."""
    group = ExceptionGroup("several", [ValueError(n) for n in range(7)])
    text = report(raises(group))
    assert text.startswith("✗ raises failed")
    assert "\n    ValueError: 4\n    … 2 more errors" in text


def test_a_coroutine():
    """How it is awaited is nobody's concern."""

    @process
    async def divides(a):
        return 1 / a

    text = report(divides(0))
    assert "in divides     return 1 / a" in text
    assert "asyncio" not in text


def test_attempts(tmp_path):
    @process(retry=2)
    def flaky(folder):
        count = len(os.listdir(folder))
        Path(folder, f"{count}").touch()
        raise ValueError(f"attempt number {count}")

    text = report(flaky(str(tmp_path)))
    assert text.startswith("✗ flaky failed · attempt 3/3 · ")
    assert "\n  attempt 1  ValueError: attempt number 0\n" in text
    assert text.endswith("\n  attempt 2  ValueError: attempt number 1")
    assert "\n  ValueError: attempt number 2\n" in text


def test_a_timeout():
    @process(timeout=0.2)
    def slow(data):
        print("working", flush=True)
        time.sleep(60)

    text = report(add(slow(table()), 1))
    assert text.startswith("✗ slow timed out · ")
    assert "data = ndarray float64 (1000, 3)   from table()" in text
    assert "longer than its timeout of 0.2 s" in text
    assert "printed    working" in text


def test_a_timeout_of_the_run():
    @process
    def slow():
        time.sleep(60)

    text = report(lambda: add(slow(), 1).run(timeout=0.2))
    assert text.startswith("✗ add timed out")
    assert "a = …   from slow()" in text
    assert "b = 1" in text


def test_a_dead_worker():
    @process
    def dies(why):
        print("last words", flush=True)
        os.kill(os.getpid(), 9)

    text = report(add(dies("x"), 1))
    assert re.match(r"✗ dies died · process \d+\n", text)
    assert "SIGKILL (9)" in text
    assert "why = 'x'" in text
    assert "printed    last words" in text


def test_a_workflows_failure():
    @workflow
    def inner():
        return divide(one(), table())

    text = report(add(inner(), 1))
    assert "✗ divide failed" in text
    assert "inner (" in text  # needed it


def test_an_error_that_arises_between_calls():
    text = report(thread(set)([one(), {table()}]) if False else add({table()}, 1))
    assert "✗ add failed" in text


def test_a_flow():
    @dataflow
    def emit(value):
        return value

    @dataflow
    def breaks(value, why):
        raise ValueError(why)

    flow = emit(breaks(why="one"), breaks(why="two"), emit())
    text = report(lambda: flow(np.zeros(3)))
    assert text.startswith("✗ 2 functions have failed in the flow ")
    assert text.count("value = ndarray float64 (3,)") == 2
    assert marked(text) == 'breaks(why="one")'
    assert "\n\n  others     2 finished" in text


def test_many_failures_of_a_flow():
    @dataflow
    def breaks(value):
        raise ValueError(value)

    @dataflow
    def emit(value):
        return value

    text = report(lambda: emit(*[breaks() for _ in range(20)])(1))
    assert text.count("✗ ") == 1 + 5
    assert "15 more have failed" in text


def test_failures_that_are_values():
    """They are told of too, but hold no values of a run that goes on."""
    (error,) = gather(divide(one(), table()), return_exceptions=True)()
    assert [type(value) for value in kept.of(error).args] == [int, kept.Words]
    text = failure_report(error)
    assert "✗ divide failed" in text
    assert re.search(r"b = ndarray float64 \(1000, 3\) +from table\(\)", text)
    for _, future in as_completed([divide(one(), table())]):
        assert "✗ divide failed" in failure_report(future.exception())


def test_futures():
    future = add(divide(one(), table()), 1).submit()
    assert "b = ndarray" in failure_report(future.exception())
    assert "✗ divide failed" in future._repr_mimebundle_()["text/html"]


def test_hostile_names():
    def function(*args):
        raise ValueError("no")

    function.__qualname__ = "\x1b[31m<script>\n" + "x" * 10_000
    text = report(thread(function)(1))
    assert text.startswith("✗ <script> xxx")
    assert "\x1b" not in text
    assert len(text) < 2000


def test_what_is_kept_does_not_travel():
    """A pickled error is the user's own again; a copied one still tells."""
    error = failed(add(divide(one(), table()), 1))
    assert kept.of(error) is not None
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ZeroDivisionError
    assert kept.of(again) is None
    assert "ZeroDivisionError" in failure_report(again)
    assert kept.of(copy.copy(error)) is kept.of(error)
    assert kept.of(copy.deepcopy(error)) is kept.of(error)


def test_an_error_of_a_run_in_a_task():
    """What was kept where it ran stays there; here it is the outer call's."""

    @process
    def outer():
        return takes(5)()

    text = report(outer())
    assert text.startswith("✗ outer failed")
    assert "takes(5)()" in text
    assert "ValueError: no" in text
    assert re.search(r"\n    in node \S*takes \(", text)
    assert text.count("in node") == 1


def test_all_of_the_traceback_on_demand(monkeypatch):
    monkeypatch.setenv("ENTANGLE_FULL_TRACEBACK", "1")
    text = report(takes(1))
    assert text.startswith("✗ takes failed")
    assert "Traceback (most recent call last):" in text
    assert "entangle" in text.partition("Traceback")[2]


def test_what_was_found_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path))

    @process(cache=True)
    def first(n):
        return n

    text = report(takes(first(1), first(2), one()))
    assert "others     3 finished · 2 kept in the cache" in text


def test_source_that_is_gone():
    code = compile("add(1, 'x')", "/gone.py", "eval")
    text = report(eval(code, {"add": add}))
    assert text.splitlines()[1] == "  /gone.py:1"
    assert sys.exc_info() == (None, None, None)
