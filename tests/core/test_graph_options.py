"""Options are checked where they are written."""

import datetime as dt
from concurrent.futures import Executor, ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from entangle.errors import CompositionError, OptionError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import CpuScheduler, LowestFree, scheduler
from entangle.task import task
from entangle.thread import thread
from entangle.workflow import workflow


def plain():
    return 1


node = task(plain)()

BAD = [
    (process, "timeout", -1, "more than 0"),
    (process, "timeout", 0, "more than 0"),
    (process, "timeout", True, "must be a number"),
    (process, "timeout", "3", "must be a number, not str '3'"),
    (process, "timeout", float("nan"), "NaN"),
    (process, "timeout", float("inf"), "leave it out"),
    (process, "timeout", dt.timedelta(seconds=3), "total_seconds"),
    (process, "timeout", node, "has not run"),
    (process, "timeout", 10**400, "must be a number"),
    (process, "timeout", [1] * 100, "..."),
    (process, "wait", -1, "more than 0"),
    (process, "start", -1, "more than 0"),
    (process, "retry", -1, "at least 0"),
    (process, "retry", 1.5, "must be an integer"),
    (process, "retry", True, "must be an integer"),
    (process, "retry", None, "must be an integer"),
    (process, "retry", node, "has not run"),
    (process, "sleep", -0.1, "negative"),
    (process, "backoff", 0.5, "at least 1"),
    (process, "retry_on", ValueError("x"), "exception classes"),
    (process, "retry_on", [ValueError, 3], "exception classes, not int 3"),
    (process, "retry_on", (), "at least one"),
    (process, "retry_error", 1, "True or False"),
    (process, "limit", 0, "at least 1"),
    (process, "fresh", "yes", "True or False"),
    (process, "preload", "json", "list of module names"),
    (process, "preload", 3, "list of module names"),
    (process, "preload", ["not a name"], "names of modules"),
    (process, "env", [("A", "1")], "mapping"),
    (process, "env", {"A": 1}, "strings to strings"),
    (process, "env", {"A=B": "1"}, "no environment can hold"),
    (process, "env", {"": "1"}, "no environment can hold"),
    (process, "env", {"A": "a\0b"}, "no environment can hold"),
    (process, "cwd", 3, "must be a path"),
    (process, "cwd", "", "path of a directory"),
    (process, "nice", 20, "between -20 and 19"),
    (process, "nice", 1.0, "must be an integer"),
    (process, "cache", 1, "True, False or 'run'"),
    (process, "cache", None, "True, False or 'run'"),
    (process, "cache", "disk", "True, False or 'run', not str 'disk'"),
    (process, "version", 1.5, "a string or an integer"),
    (process, "version", True, "a string or an integer"),
    (process, "cache_key", "x", "must be a function"),
    (process, "cache_ignore", "x", "a list of names"),
    (process, "cache_ignore", ["not a name"], "names"),
    (process, "cache_ignore", [3], "names"),
    (task, "executor", "da sk", "must be the name of an executor, not 'da sk'"),
    (task, "executor", 3, "concurrent.futures.Executor"),
    (task, "executor", ThreadPoolExecutor, "not its class"),
    (local, "cpus", 0, "at least 1"),
    (local, "cpus", True, "must be an integer"),
    (scheduler, "cpus", 0, "at least 1"),
    (scheduler, "impl", "Chooser", "dotted path"),
    (scheduler, "impl", 3, "method choose"),
    (scheduler, "impl", LowestFree((0,)), "not an object of it"),
]


@pytest.mark.parametrize(("decorator", "name", "value", "words"), BAD)
def test_bad_values_are_refused_where_they_are_written(decorator, name, value, words):
    with pytest.raises(OptionError) as caught:
        decorator(**{name: value})
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{decorator.__name__}(): {name} ")
    assert caught.value.option == name
    assert caught.value.decorator == decorator.__name__


class Chooser:
    def __init__(self, cpus):
        self.cpus = cpus

    def choose(self, free):
        return min(free)


class Mine(Executor):
    pass


EXECUTOR = Mine()

GOOD = [
    (process, {"timeout": Fraction(1, 2)}, "timeout", 0.5),
    (process, {"timeout": Decimal("1.5")}, "timeout", 1.5),
    (process, {"timeout": None}, "timeout", None),
    (process, {"retry": 0}, "retry", 0),
    (process, {"sleep": 0}, "sleep", 0.0),
    (process, {"backoff": 1}, "backoff", 1.0),
    (process, {"retry_on": ValueError}, "retry_on", (ValueError,)),
    (process, {"retry_on": (OSError, KeyError)}, "retry_on", (KeyError, OSError)),
    (process, {"limit": None}, "limit", None),
    (process, {"limit": 3}, "limit", 3),
    (process, {"preload": ("json", "os.path", "json")}, "preload", ("json", "os.path")),
    (process, {"preload": None}, "preload", ()),
    (process, {"env": {"B": "2", "A": "1"}}, "env", (("A", "1"), ("B", "2"))),
    (process, {"cwd": Path("/tmp")}, "cwd", "/tmp"),
    (process, {"cwd": b"/tmp"}, "cwd", "/tmp"),
    (process, {"nice": -5}, "nice", -5),
    (task, {"executor": EXECUTOR}, "executor", EXECUTOR),
    (task, {"executor": None}, "executor", None),
    (local, {"cpus": 4}, "cpus", 4),
    (local, {"cpus": None}, "cpus", None),
    (scheduler, {"cpus": 4}, "scheduler", (4, None)),
    (scheduler, {"cpus": 4, "impl": Chooser}, "scheduler", (4, Chooser)),
    (scheduler, {"cpus": 4, "impl": "a.b.C"}, "scheduler", (4, "a.b.C")),
    (scheduler, {"cpus": 4, "impl": None}, "scheduler", (4, None)),
]


@pytest.mark.parametrize(("decorator", "options", "name", "value"), GOOD)
def test_good_values_arrive_in_plain_form(decorator, options, name, value):
    assert getattr(decorator(**options)(plain).options, name) == value


@pytest.mark.parametrize(
    ("decorator", "options", "words"),
    [
        (process, {"timout": 3}, "did you mean 'timeout'?"),
        (process, {"zzz": 3}, "its options are timeout, wait"),
        (process, {"cpus": 3}, "an option of @local and @scheduler"),
        (process, {"executor": 3}, "an option of @task"),
        (thread, {"fresh": True}, "needs a process of its own; use @process(fresh="),
        (workflow, {"nice": 1}, "needs a process of its own"),
        (local, {"timeout": 3}, "an option of @process and @thread"),
        (process, {"memo": True}, "no option 'memo'"),
    ],
)
def test_unknown_options_are_refused_with_a_hint(decorator, options, words):
    with pytest.raises(OptionError) as caught:
        decorator(**options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "decorator", [process, thread, workflow, task, local, scheduler]
)
@pytest.mark.parametrize("value", [3, "name", None, [1, 2]])
def test_decorating_what_is_no_function(decorator, value):
    with pytest.raises(CompositionError) as caught:
        decorator(value)
    assert f"{decorator.__name__}() decorates a function" in str(caught.value)
    if value == 3:
        first = "cpus" if decorator in (local, scheduler) else "timeout"
        assert f"{decorator.__name__}({first}=3)" in str(caught.value)


def test_decorating_a_node_says_where_it_was_built():
    with pytest.raises(CompositionError) as caught:
        process(node)
    assert node.where in str(caught.value)
    assert "decorate the function" in str(caught.value)


def test_generator_functions_are_refused_with_a_hint():
    def generator():
        yield 1

    async def asynchronous():
        yield 1

    for function in (generator, asynchronous):
        with pytest.raises(TypeError, match=r"flow\.stream"):
            process(function)


def test_options_alone_make_a_reusable_decorator():
    quick = process(timeout=3)
    assert quick(plain).options == quick(len).options
    assert process()(plain).spec == process(plain).spec


def test_the_default_scheduler_takes_the_lowest_free_cpu():
    chooser: CpuScheduler = LowestFree((2, 3, 5))
    assert chooser.choose(frozenset({5, 3})) == 3
