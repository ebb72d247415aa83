"""Calls in Pythons of other versions: by source, or refused before anything runs."""

import asyncio
import collections
import datetime as dt
import functools
import importlib
import logging
import math
import operator
import re
import sys

import pytest
from remote_kit import HereExecutor, interpreter

from entangle._remote import by_source
from entangle._remote.project import Project
from entangle.errors import UnpicklableError, VersionMismatchError
from entangle.process import process
from entangle.task import gather, task

pytestmark = pytest.mark.process

OTHERS = [v for v in ("3.9", "3.10", "3.12", "3.13") if not sys.version.startswith(v)]
# In a module of this name nothing goes by name: the file is no module of the path's.
__name__ = "__main__"


@pytest.fixture(params=OTHERS)
def executor(request):
    with HereExecutor(interpreter(request.param)) as made:
        made.version = request.param
        yield made


@pytest.fixture
def there(executor):
    return task(executor=executor)


SIZE = 3
TABLE = {"a": [1, 2], ("b",): {3.5}}
PATTERN = re.compile("x+")
LOG = logging.getLogger("versions")
DAY = dt.date(2020, 2, 3)


def where():
    return "{}.{}".format(*sys.version_info)


def even(n):
    return True if n == 0 else odd(n - 1)


def odd(n):
    return False if n == 0 else even(n - 1)


# -- what travels


def test_it_runs_there(there, executor):
    assert there(where)()() == executor.version


def test_helpers_and_plain_globals(there):
    def use(n):
        found = len(PATTERN.findall("xx y x"))
        return n * SIZE + len(TABLE["a"]) + math.floor(2.5) + found, DAY.year, LOG.name

    assert there(use)(2)() == (6 + 2 + 2 + 2, 2020, "versions")


def test_helpers_that_call_each_other(there):
    assert there(even)(10)() is True


def test_closures_and_recursion(there):
    step = [2]

    def add(n):
        return add(n - 1) + step[0] if n else 0

    assert there(lambda n: add(n))(4)() == 8


def test_decorators_and_defaults_stay_here(there):
    seen = []

    def once(fn):
        seen.append(fn)
        return fn

    @once
    def use(a: "no such name" = SIZE, *, b=len(seen)) -> "nor this":  # noqa: B008, F722
        return a, b

    assert there(use)()() == (3, 0)
    assert there(use)(b=5)() == (3, 5)
    assert len(seen) == 1


def test_annotations_inside_are_evaluated_as_here(there, tmp_path):
    path = tmp_path / "annotated.py"
    path.write_text(
        "from __future__ import annotations\n"
        "def use(n: Missing):\n"
        "    def inner(m: Absent) -> Lost:\n"
        "        return m + 1\n"
        "    return inner(n)\n"
    )
    names = {"__name__": "__main__"}
    exec(compile(path.read_text(), path, "exec"), names)
    assert there(names["use"])(1)() == 2


def test_wrapped_functions_keep_their_wrappers(there):
    def doubled(fn):
        @functools.wraps(fn)
        def call(*args):
            return 2 * fn(*args)

        return call

    @there
    @doubled
    def use(n):
        return n + 1

    assert use(2)() == 6


def test_lambdas(there):
    first, second = there(lambda n: n + 1), there(lambda n: n + 2)
    assert (first(1)(), second(1)()) == (2, 3)


def test_coroutines_builtins_and_library_functions(there):
    async def later(n):
        await asyncio.sleep(0)
        return n + 1

    assert there(later)(1)() == 2
    assert there(math.sqrt)(16)() == 4
    assert there(operator.mul)(6, 7)() == 42
    assert there(collections.Counter)("aab")()["a"] == 2


def test_values_of_all_sizes(there):
    import numpy as np

    data = bytes(range(256)) * 40_000
    assert there(lambda d: d[::-1])(data)() == data[::-1]
    same = there(lambda n: n)
    assert gather(*[same(n) for n in range(300)])() == list(range(300))
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        there(lambda a: a)(np.ones(3))()


def test_errors_have_a_traceback_with_lines(there):
    def fail():
        text = "why"
        raise ValueError(text)

    with pytest.raises(ValueError, match="why") as caught:
        there(fail)()()
    assert "raise ValueError(text)" in caught.value.__notes__[0]
    assert __file__ in caught.value.__notes__[0]


def test_modules_of_the_project(there, executor, tmp_path, monkeypatch):
    (tmp_path / "plain_helpers.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "task_helpers.py").write_text(
        "from entangle.process import process\n"
        "from plain_helpers import add\n"
        "def helper(n):\n    return add(n, 1)\n"
        "@process\ndef decorated(n):\n    return helper(n)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import task_helpers

    try:
        # From 3.11 on by name, before that by source, without its import of entangle.
        assert there(task_helpers.decorated.fn)(1)() == 2
    finally:
        for name in ("task_helpers", "plain_helpers"):
            del sys.modules[name]


# -- what is refused


@process
def a_task():
    return 1


class Mine:
    def method(self):
        return 1


class Stateful:
    def __call__(self):
        return 1


def uses(value):
    """Return a function whose closure holds a value."""
    return lambda: value


def refused(there, function, *args):
    """Return why a call is refused; nothing may have run."""
    with pytest.raises(VersionMismatchError) as caught:
        there(function)(*args)()
    assert caught.value.place == "here"
    return caught.value.reason


def test_tasks_as_helpers_are_refused(there):
    def use():
        return a_task

    assert "the global 'a_task' of" in refused(there, use)
    assert "is the task" in refused(there, uses(a_task))


def test_classes_of_the_program_are_refused(there):
    def use():
        return Mine()

    assert "the class Mine" in refused(there, use)
    assert "is of type Stateful" in refused(there, uses(Stateful())).replace(
        ", of", " is of"
    )
    assert "method" in refused(there, uses(Mine().method))
    assert "plain function" in refused(there, Stateful())
    assert "plain function" in refused(there, Mine().method)


def test_classes_of_modules_go_by_name(there, executor, tmp_path, monkeypatch):
    """To old Pythons, too, unless the module needs the framework there."""
    (tmp_path / "shapes_part.py").write_text("class Point:\n    x = 3\n")
    (tmp_path / "between_part.py").write_text("import shapes_part\nclass A: pass\n")
    (tmp_path / "tasks_part.py").write_text(
        "from entangle.process import process\nclass Busy:\n    x = 4\n"
    )
    (tmp_path / "above_part.py").write_text("import tasks_part\nclass B: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["shapes_part", "between_part", "tasks_part", "above_part"]
    shapes, between, tasks, above = map(importlib.import_module, names)
    try:
        assert there(uses(shapes.Point))()() is shapes.Point
        assert there(uses(between.A))()() is between.A
        for kind in (tasks.Busy, above.B):
            if executor.version in {"3.9", "3.10"}:
                assert "import entangle" in refused(there, uses(kind))
            else:
                assert there(uses(kind))()() is kind
    finally:
        for name in names:
            del sys.modules[name]


def test_arguments_that_go_by_value_are_refused(there):
    assert "argument" in refused(there, len, [Mine])
    assert "argument" in refused(there, len, [lambda: 1])


def test_results_that_go_by_value_are_refused(there):
    with pytest.raises(UnpicklableError, match="another version"):
        there(lambda: lambda: 1)()()


def test_functions_without_a_source_are_refused(there):
    names = {}
    exec("def made():\n    return 1\n", names)
    made = names["made"]
    made.__module__ = "__main__"
    assert "is not known" in refused(there, made)


def test_functions_whose_source_has_changed_are_refused(there, tmp_path):
    path = tmp_path / "changing.py"
    path.write_text("def f():\n    return 1\n")
    names = {"__name__": "__main__"}
    exec(compile(path.read_text(), path, "exec"), names)
    path.write_text("def f():\n    return 2\n")
    assert "changed" in refused(there, names["f"])


def test_syntax_that_is_too_new_is_refused(there, executor):
    def use(value):
        match value:
            case 1:
                return 2

    if executor.version == "3.9":
        assert "syntax" in refused(there, use, 1)
    else:
        assert there(use)(1)() == 2


def test_globals_that_are_too_large_are_refused(there):
    large = bytes(2_000_000)
    assert "pass large values as arguments" in refused(there, uses(large))


def test_variables_without_a_value_and_super_are_refused(there):
    def outer():
        def inner():
            return later

        if len(sys.argv) < 0:
            later = 1
        return inner

    assert "no value yet" in refused(there, outer())

    class Child(Mine):
        def up(self):
            return super().method()

    assert "super()" in refused(there, Child.up, 1)


# -- without another Python


def test_pickles_that_any_python_takes():
    import pickle

    from entangle._worker import functions

    assert by_source.portable(pickle.dumps([1, "x", math.sqrt]))
    assert not by_source.portable(functions.encode_function(lambda: 1))
    assert not by_source.portable(functions.encode_function(Mine))


def test_functions_are_rebuilt_as_they_were():
    from entangle._worker import functions

    factor = 2

    def use(a, b=SIZE, /, *args, c=4, **more):
        return (a + b) * factor, args, c, more

    data = by_source.encoded(use, functions.encode_function(use), (3, 9), Project())
    made = functions.decode_function(data)
    assert made is not use
    assert made(1) == use(1)
    assert made(1, 2, 3, c=5, d=6) == use(1, 2, 3, c=5, d=6)
    assert (made.__name__, made.__qualname__) == (use.__name__, use.__qualname__)
    assert made.__code__.co_firstlineno == use.__code__.co_firstlineno
