"""Tracebacks of tasks elsewhere show the lines that the caller has, as local ones do."""

import linecache
import traceback

import pytest
from remote_kit import HereExecutor, interpreter

from entangle._worker import failures, tracebacks
from entangle.errors import TaskError
from entangle.process import process
from entangle.task import task

pytestmark = pytest.mark.process

PATH = "/nowhere/program.py"
TEXT = """
def made():
    def outer(number):
        values = {"a": 1}
        def inner():
            return (values["a"] +
                values["ü"] + number)
        return 1 + inner()
    return outer
"""


@pytest.fixture
def outer(monkeypatch):
    """A function whose source is known to this process alone, as in a notebook."""
    lines = TEXT.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, PATH, (len(TEXT), None, lines, PATH))
    space = {"__name__": "__main__"}
    exec(compile(TEXT, PATH, "exec"), space)
    return space["made"]()


def frames_of(text):
    """Return what a traceback shows of the program's frames."""
    lines = text[text.index(f'  File "{PATH}') :].splitlines()
    return [line for line in lines if line.startswith("  ")]


def raised(function):
    with pytest.raises(KeyError) as caught:
        function(1)
    return frames_of("".join(traceback.format_exception(caught.value)))


def test_as_local_ones(outer):
    shown = raised(outer)
    assert shown[-1].strip() == "~~~~~~^^^^^"
    with HereExecutor() as here:
        for how in (task(executor=here), process):
            with pytest.raises(KeyError) as caught:
                how(outer)(1)()
            assert frames_of(getattr(caught.value, failures.TRACEBACK)) == shown


def test_by_source(outer):
    with HereExecutor(interpreter("3.12")) as here, pytest.raises(KeyError) as caught:
        task(executor=here)(outer)(1)()
    assert frames_of(getattr(caught.value, failures.TRACEBACK)) == raised(outer)


def test_a_python_that_knows_no_columns(outer):
    with HereExecutor(interpreter("3.9")) as here, pytest.raises(KeyError) as caught:
        task(executor=here)(outer)(1)()
    shown = [line for line in raised(outer) if not {*line.strip()} <= {*"~^"}]
    assert frames_of(getattr(caught.value, failures.TRACEBACK)) == shown


def test_no_file_is_looked_at_for_a_place_that_is_not_trusted(outer):
    with HereExecutor(trust=False) as here, pytest.raises(TaskError) as caught:
        task(executor=here)(outer)(1)()
    shown = frames_of(caught.value.traceback_text)
    assert [line.split(",")[0] for line in shown] == [f'  File "{PATH}"'] * 2
    assert "\0" not in caught.value.traceback_text


def test_recursion_stays_short(monkeypatch):
    text = "def down(n):\n    return down(n - 1) if n else 1 / n\n"
    lines = text.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, PATH, (len(text), None, lines, PATH))
    space = {"__name__": "__main__"}
    exec(compile(text, PATH, "exec"), space)
    with HereExecutor() as here, pytest.raises(ZeroDivisionError) as caught:
        task(executor=here)(space["down"])(200)()
    shown = frames_of(getattr(caught.value, failures.TRACEBACK))
    assert shown[2].strip() == "^^^^^^^^^^^"
    assert shown[-1] == "  [Previous line repeated 198 more times]"


@pytest.mark.parametrize("mark", ["9,0,4", "2,0,400", "1,5,2", "2,-1,3"])
def test_what_marks_no_part_of_a_line(outer, mark):
    """The file may have changed: what is there is shown, and nothing raises."""
    del outer
    text = f'  File "{PATH}", line 2, in made\n    \0{mark}\n'
    shown = tracebacks.completed(text)
    assert shown.splitlines()[0] == text.splitlines()[0]
    assert "\0" not in shown


def test_a_file_that_is_not_there():
    text = '  File "/nowhere/else.py", line 2, in f\n    \0' + "2,0,4\n"
    assert tracebacks.completed(text) == text.splitlines(keepends=True)[0]
    assert tracebacks.unmarked(text) == text.splitlines(keepends=True)[0]
