"""A worker takes over what calls can notice of the caller's process."""

import _locale
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from entangle._worker import codec, context

KEPT = ("environ", "path", "argv", "recursion", "umask", "cwd")


@pytest.fixture
def untouched():
    """Put everything back that `apply` changes."""
    umask = os.umask(0)
    os.umask(umask)
    state = context.capture(umask)
    names = list(warnings.filters)
    argv, path = sys.argv, list(sys.path)
    yield state
    context.apply(state, {})
    sys.argv = argv
    sys.path[:] = path
    warnings.filters[:] = names


def test_capture_says_what_there_is(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTANGLE_TEST_VARIABLE", "wörd")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--flag"])
    state = context.capture(0o27)
    assert state["environ"] == dict(os.environb)
    assert state["environ"][b"ENTANGLE_TEST_VARIABLE"] == "wörd".encode()
    assert state["cwd"] == str(tmp_path)
    assert state["argv"] == ["prog", "--flag"]
    assert state["path"] == sys.path
    assert state["path"] is not sys.path
    assert state["umask"] == 0o27
    assert state["recursion"] == sys.getrecursionlimit()
    assert state["filters"] == list(warnings.filters)
    assert state["locale"] == _locale.setlocale(_locale.LC_ALL, None)
    assert state["main"] == getattr(sys.modules["__main__"], "__file__", None)


def test_capture_in_a_bare_process(monkeypatch):
    """No arguments, no warnings, no locale, no main module, no directory."""

    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    monkeypatch.delattr(sys, "argv")
    monkeypatch.delitem(sys.modules, "warnings")
    monkeypatch.delitem(sys.modules, "__main__")
    monkeypatch.setitem(sys.modules, "_locale", None)
    state = context.capture(0)
    assert state["cwd"] is state["filters"] is state["main"] is state["locale"] is None
    assert state["argv"] == []


def test_capture_where_the_environment_was_replaced(monkeypatch):
    monkeypatch.setattr(os, "environ", {"A": "1"})
    assert context.capture(0)["environ"] == {b"A": b"1"}


def test_a_worker_becomes_like_the_caller(untouched, tmp_path, monkeypatch):
    state = dict(untouched)
    state["environ"] = {b"ONLY": b"this", b"PATH": b"/bin"}
    state["path"] = [str(tmp_path), *sys.path]
    state["argv"] = ["other", "arguments"]
    state["recursion"] = sys.getrecursionlimit() + 11
    state["umask"] = 0o77
    state["cwd"] = str(tmp_path)
    state["filters"] = [("ignore", None, UserWarning, None, 0), *warnings.filters]
    context.apply(state, {})
    got = context.capture(os.umask(0o77))
    assert {key: got[key] for key in KEPT} == {key: state[key] for key in KEPT}
    assert got["filters"] == state["filters"]
    warnings.warn("not shown", UserWarning, stacklevel=1)


def test_warnings_already_shown_are_forgotten(untouched):
    """New filters count at once, also where a warning was shown before."""
    registry = {}

    def warn():
        warnings.warn_explicit("text", UserWarning, "file", 1, registry=registry)

    ignoring = [("ignore", None, UserWarning, None, 0)]
    context.apply({**untouched, "filters": ignoring}, {})
    warn()
    context.apply({**untouched, "filters": [("error", None, UserWarning, None, 0)]}, {})
    with pytest.raises(UserWarning):
        warn()


def test_what_the_caller_does_not_know_stays(untouched, monkeypatch):
    here = str(Path.cwd())
    state = {**untouched, "cwd": None, "filters": None, "locale": None}
    context.apply(state, {})
    assert str(Path.cwd()) == here


def test_a_directory_that_is_gone_stops_no_call(untouched, tmp_path):
    here = str(Path.cwd())
    context.apply({**untouched, "cwd": str(tmp_path / "gone")}, {})
    assert str(Path.cwd()) == here


def test_own_directory_is_relative_to_the_callers(untouched, tmp_path):
    (tmp_path / "sub").mkdir()
    context.apply({**untouched, "cwd": str(tmp_path)}, {"cwd": "sub"})
    assert str(Path.cwd()) == str(tmp_path / "sub")
    context.apply({**untouched, "cwd": None}, {"cwd": "tmp"})
    assert str(Path.cwd()) == "/tmp"


def test_own_directory_that_is_missing_is_an_error(untouched, tmp_path):
    with pytest.raises(FileNotFoundError):
        context.apply(untouched, {"cwd": str(tmp_path / "gone")})


def test_own_variables_are_merged_in(untouched):
    state = {**untouched, "environ": {b"A": b"1", b"B": b"2"}}
    context.apply(
        state, {"env": (("B", "3"), ("OMP_NUM_THREADS", "9")), "cpus": (0, 1)}
    )
    assert os.environ["A"] == "1"
    assert os.environ["B"] == "3"
    assert os.environ["OMP_NUM_THREADS"] == "9"
    assert os.environ["MKL_NUM_THREADS"] == "2"


@pytest.mark.parametrize("name", ["C", "POSIX", "C.UTF-8"])
def test_the_locale_is_taken_over(untouched, name):
    context.apply({**untouched, "locale": name}, {})
    assert context._locale() in {name, "C"}


def test_an_unknown_locale_is_left_out(untouched):
    before = context._locale()
    context.apply({**untouched, "locale": "xx_YY.nothing"}, {})
    assert context._locale() == before


def test_a_state_travels(untouched):
    assert codec.decode(codec.encode(untouched)) == untouched


def test_what_a_worker_keeps_for_life(monkeypatch):
    seen = []
    monkeypatch.setattr(os, "nice", seen.append)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *given: seen.append(given))
    context.settle({})
    context.settle({"nice": 0, "cpus": None})
    assert seen == []
    context.settle({"nice": 5, "cpus": (0,)})
    assert seen == [5, (0, (0,))]


@pytest.mark.process
def test_from_one_process_to_another(tmp_path):
    """What one process captures, another has after applying it."""
    program = (
        "import os, pickle, sys\n"
        "from entangle._worker import context\n"
        "state = pickle.load(sys.stdin.buffer)\n"
        "context.apply(state, {'nice': 3})\n"
        "context.settle({'nice': 3, 'cpus': [min(os.sched_getaffinity(0))]})\n"
        "got = context.capture(os.umask(0))\n"
        "got['filters'] = os.nice(0), len(os.sched_getaffinity(0))\n"
        "pickle.dump(got, sys.stdout.buffer)\n"
    )
    umask = os.umask(0)
    os.umask(umask)
    state = {**context.capture(umask), "filters": None, "cwd": str(tmp_path)}
    before = os.nice(0)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(state),
        capture_output=True,
        check=True,
        cwd="/",
    )
    got = pickle.loads(done.stdout)
    assert {key: got[key] for key in KEPT} == {key: state[key] for key in KEPT}
    assert got["filters"] == (before + 3, 1)


def test_filters_travel_without_their_categories(untouched, monkeypatch):
    """What is filtered need not be loaded; once it is, the filter counts."""
    module = ModuleType("later_on")
    exec("class Theirs(UserWarning): pass\nclass Own(Theirs): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "later_on", module)
    filters = [("error", None, module.Theirs, None, 0)]
    state = {**untouched, "filters": filters}
    data = codec.encode(context.portable(state)).data
    monkeypatch.delitem(sys.modules, "later_on")
    context.apply(codec.decode(codec.Blob(data, ())), {})
    assert "later_on" not in sys.modules
    with pytest.raises(module.Own):
        warnings.warn("theirs", module.Own, stacklevel=1)
    with pytest.warns(UserWarning, match="others"):
        warnings.warn("others", UserWarning, stacklevel=1)
    # And so it goes on to the next.
    again = context.portable(context.capture(0))
    assert again["filters"] == context.portable(state)["filters"]


def test_filters_of_what_every_python_has(untouched):
    filters = [("error", None, DeprecationWarning, None, 0)]
    context.apply(context.portable({**untouched, "filters": filters}), {})
    assert warnings.filters == filters


def test_filters_of_classes_that_arrive_by_value(untouched):
    """There they have no place but their module, whatever they were made in."""

    class Inner(UserWarning):
        pass

    filters = [("error", None, Inner, None, 0)]
    data = codec.encode(context.portable({**untouched, "filters": filters})).data
    context.apply(codec.decode(codec.Blob(data, ())), {})
    arrived = type("Inner", (UserWarning,), {"__module__": __name__})
    for category in (Inner, arrived):
        with pytest.raises(UserWarning):
            warnings.warn("x", category, stacklevel=1)


def test_a_filter_of_several_categories(untouched):
    filters = [("error", None, (UserWarning, FutureWarning), None, 0)]
    data = codec.encode(context.portable({**untouched, "filters": filters})).data
    context.apply(codec.decode(codec.Blob(data, ())), {})
    with pytest.raises(FutureWarning):
        warnings.warn("x", FutureWarning, stacklevel=1)
