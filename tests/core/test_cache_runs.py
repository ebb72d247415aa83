"""Cached tasks in runs: what is kept is not computed again, and nothing else changes."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from life_kit import pool_pids, program, until

from entangle._cache import directory
from entangle._run import keeping
from entangle.errors import CacheDirectoryError, CacheKeyError, OptionError
from entangle.process import process
from entangle.task import as_completed, gather, shutdown, task
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def ours(tmp_path, monkeypatch):
    """Give each test a cache of its own."""
    path = tmp_path / "cache"
    monkeypatch.setenv(directory.DIRECTORY, str(path))
    monkeypatch.setattr(keeping, "_said", set())
    return path


@pytest.fixture
def runs(tmp_path):
    """Return a file that bodies write to, and how often they have."""
    path = tmp_path / "runs"
    path.touch()

    class Runs:
        file = str(path)

        @property
        def count(self):
            return len(path.read_text())

    return Runs()


def note(file):
    with open(file, "a") as out:
        out.write("x")


def double(x, file):
    note(file)
    return [x, x]


async def double_soon(x, file):
    await asyncio.sleep(0)
    return double(x, file)


FILE = ["file"]
KINDS = {
    "process": process(cache=True, cache_ignore=FILE)(double),
    "fresh": process(cache=True, cache_ignore=FILE, fresh=True)(double),
    "thread": thread(cache=True, cache_ignore=FILE)(double),
    "async": thread(cache=True, cache_ignore=FILE)(double_soon),
    "workflow": workflow(cache=True, cache_ignore=FILE)(double),
    "named": task(executor="thread", cache=True, cache_ignore=FILE)(double),
    "limited": thread(cache=True, cache_ignore=FILE, limit=1)(double),
    "retried": process(cache=True, cache_ignore=FILE, retry=2)(double),
    "timed": process(cache=True, cache_ignore=FILE, timeout=60, start=60)(double),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_is_not_computed_again(kind, runs):
    called = KINDS[kind]
    assert called(3, runs.file)() == [3, 3]
    assert called(3, runs.file)() == [3, 3]
    assert called(x=3, file=os.devnull)() == [3, 3]
    assert runs.count == 1
    assert called(4, runs.file)() == [4, 4]
    assert called("3", runs.file)() == ["3", "3"]
    assert runs.count == 3


@pytest.mark.parametrize("kind", KINDS)
def test_inline(kind, runs, monkeypatch):
    if kind in {"named", "fresh", "timed"}:
        pytest.skip("says that it is relaxed")
    called = KINDS[kind]
    assert called(3, runs.file)() == [3, 3]
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    assert called(3, runs.file)() == [3, 3]
    assert called(4, runs.file)() == [4, 4]
    assert called(4, runs.file)() == [4, 4]
    assert runs.count == 2


def test_foreign_executors(runs):
    with ThreadPoolExecutor(1) as pool:
        called = task(executor=pool, cache=True, cache_ignore=FILE)(double)
        assert called(1, runs.file)() == called(1, runs.file)() == [1, 1]
    assert runs.count == 1


@process(cache=True)
def plus(x, y=1):
    return x + y


@process(cache=True)
def squares(n):
    return np.arange(n) ** 2


@process(cache=True)
def total(array):
    return int(array.sum())


def test_a_hit_starts_no_process():
    plus(plus(1))()
    total(squares(300_000))()
    shutdown()
    assert plus(plus(1))() == 3
    assert total(squares(300_000))() == int((np.arange(300_000) ** 2).sum())
    assert not pool_pids()


def test_values_of_processes_are_keyed_by_content(runs):
    @process
    def made(order):
        return {"names": set(order), "array": np.arange(5)}

    @process(cache=True, cache_ignore=FILE)
    def used(value, pair, file):
        note(file)
        return sorted(value["names"]), pair[1].sum()

    value, other = made("abc"), made("cba")
    one = used(value, [1, squares(4)], runs.file)()
    assert used(other, [1, squares(4)], runs.file)() == one
    assert runs.count == 1
    used(other, [2, squares(4)], runs.file)()
    assert runs.count == 2


def test_hits_are_private_copies():
    @thread
    def spoil(array):
        array[:] = 0
        return int(array.sum())

    @process
    def look(array, after):
        return int(array[-1])

    array = squares(300_000)
    array()
    last = 299_999**2
    assert look(array, spoil(array))() == last
    kept = array()
    kept[:] = 1
    assert array()[-1] == last


def test_what_a_task_expands_to_is_kept(runs):
    @workflow(cache=True, cache_ignore=FILE)
    def grown(n, file):
        note(file)
        return gather(plus(n), [plus(n, 5)][0]) if n else 0

    @process(cache=True, cache_ignore=FILE)
    def factorial(n, file):
        note(file)
        return times(n, factorial(n - 1, file)) if n else 1

    @process
    def times(a, b):
        return a * b

    assert grown(1, runs.file)() == grown(1, runs.file)() == [2, 6]
    assert runs.count == 1
    assert factorial(5, runs.file)() == factorial(5, runs.file)() == 120
    assert runs.count == 7
    assert factorial(6, runs.file)() == 720
    assert runs.count == 8


def test_equal_calls_of_one_run_are_computed_once(runs):
    for mode in (True, "run"):

        @process(cache=mode, cache_ignore=FILE, version=str(mode))
        def slow(x, file):
            note(file)
            return [x]

        @workflow
        def later(value, file=runs.file, slow=slow):
            return slow(1, file)

        before = runs.count
        first = slow(1, runs.file)
        nodes = [first, *(slow(1, runs.file) for _ in range(20)), later(first)]
        assert gather(*nodes)() == [[1]] * 22
        assert runs.count == before + 1


def test_for_a_run_means_no_longer(runs, ours):
    @thread(cache="run", cache_ignore=FILE)
    def short(file):
        note(file)

    short(runs.file)()
    short(runs.file)()
    assert runs.count == 2
    assert not ours.exists()


def test_a_call_that_returns_an_equal_one_ends(runs):
    @workflow(cache="run")
    def again(x):
        return again(x)

    with pytest.raises(Exception, match="again"):
        again(1).run(timeout=20)


def test_errors_are_not_kept(runs):
    @process(cache=True, cache_ignore=FILE)
    def fails(file):
        note(file)
        if os.path.getsize(file) < 3:
            raise ValueError("not yet")
        return "well"

    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            fails(runs.file)()
    assert fails(runs.file)() == fails(runs.file)() == "well"
    assert runs.count == 3


def test_retries_keep_what_succeeds(runs):
    @process(cache=True, cache_ignore=FILE, retry=3)
    def shaky(file):
        note(file)
        if os.path.getsize(file) < 3:
            raise ValueError
        return 1

    assert shaky(runs.file)() == shaky(runs.file)() == 1
    assert runs.count == 3


def test_failures_of_equal_calls(runs):
    @process(cache=True, cache_ignore=FILE)
    def fails(file):
        note(file)
        raise ValueError("no")

    found = gather(*(fails(runs.file) for _ in range(5)), return_exceptions=True)()
    assert [type(each) for each in found] == [ValueError] * 5


def test_code_is_part_of_the_key(runs):
    def make(body):
        space = {"note": note, "__name__": "made"}
        exec(f"def f(x, file):\n    note(file)\n    return {body}\n", space)
        return process(cache=True, cache_ignore=FILE)(space["f"])

    assert make("x + 1")(1, runs.file)() == 2
    assert make("x + 1")(1, runs.file)() == 2
    assert make("x + 2")(1, runs.file)() == 3
    assert runs.count == 2


def test_version_and_cache_key(runs):
    def keyed(**options):
        return thread(cache=True, **options)(double)

    first = keyed(version=1, cache_ignore=FILE)
    first(1, runs.file)()
    keyed(version=1, cache_ignore=FILE)(1, runs.file)()
    assert runs.count == 1
    keyed(version=2, cache_ignore=FILE)(1, runs.file)()
    assert runs.count == 2
    parity = keyed(cache_key=lambda x, file: x % 2)
    assert [parity(x, runs.file)() for x in range(4)] == [[0, 0], [1, 1]] * 2
    assert runs.count == 4

    def broken(x, file):
        raise ZeroDivisionError("oh")

    with pytest.raises(CacheKeyError, match="broken raised ZeroDivisionError: oh"):
        keyed(cache_key=broken)(1, runs.file)()


class Held:
    def __init__(self):
        self.inner = [threading.Lock()]


def test_what_can_not_be_keyed_is_named_before_anything_runs(runs):
    @thread
    def early(file):
        note(file)

    @thread(cache=True)
    def cached(a, conf=None):
        return a

    with pytest.raises(CacheKeyError) as caught:
        cached(early(runs.file), conf={"x": Held()})()
    assert caught.value.path == "argument 'conf'['x'].inner[0]"
    assert caught.value.node.endswith("cached")
    lock = threading.Lock()

    @thread(cache=True)
    def closes(a):
        return lock

    with pytest.raises(CacheKeyError, match="closure variable 'lock'"):
        closes(early(runs.file))()
    assert runs.count == 0

    @thread
    def locks():
        return [threading.Lock()]

    with pytest.raises(CacheKeyError, match=r"argument 'a'\[0\]"):
        cached(locks())()


def test_options_that_mean_nothing():
    for options in ({"version": 1}, {"cache_key": len}, {"cache_ignore": ["x"]}):
        made = thread(**options)(double)
        for _ in range(2):
            with pytest.raises(OptionError, match="means nothing"):
                made(1, "f")
    with pytest.raises(OptionError, match="neither a parameter nor a global"):
        thread(cache=True, cache_ignore=["y"])(double)(1, "f")
    assert thread(cache=False, version=1)(double)
    thread(cache=True, cache_ignore=["note", "x"])(double)(1, "f")
    thread(version=1)(thread(cache=True)(double))(1, "f")


def test_a_value_that_does_not_pickle_is_delivered_with_one_warning(runs):
    @thread(cache=True, cache_ignore=FILE)
    def lock(file):
        note(file)
        return threading.Lock()

    with pytest.warns(RuntimeWarning, match="can't be kept: value of .*lock") as seen:
        gather(lock(runs.file), lock(runs.file).after(lock(runs.file)))()
    assert len(seen) == 1
    lock(runs.file)()
    assert runs.count > 1


def test_where_nothing_can_be_written_runs_succeed_with_one_warning(ours, monkeypatch):
    from entangle._cache.store import Store

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Store, "_write", refuse)
    with pytest.warns(RuntimeWarning, match="can't be kept in .*Permission") as seen:
        assert [plus(x)() for x in range(3)] == [1, 2, 3]
    assert len(seen) == 1


def test_where_warnings_are_errors_values_are_delivered(monkeypatch):
    from entangle._cache.store import Store

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "_write", refuse)
    assert plus(1)() == 2


def test_a_directory_that_must_not_be_used_is_refused(ours, runs):
    ours.mkdir()
    ours.chmod(0o777)
    with pytest.raises(CacheDirectoryError, match="others may write"):
        plus(1)()


def test_the_directory_vanishes(ours):
    assert plus(1)() == 2
    shutil.rmtree(ours)
    assert plus(1)() == 2
    assert plus(1)() == 2
    assert ours.exists()


def test_a_damaged_entry_is_a_miss(ours, runs):
    called = KINDS["process"]
    called(1, runs.file)()
    (entry,) = [path for path in ours.rglob("*") if len(path.name) == 38]
    entry.write_bytes(entry.read_bytes()[:-1])
    assert called(1, runs.file)() == [1, 1]
    assert runs.count == 2
    assert called(1, runs.file)() == [1, 1]
    assert runs.count == 2


def test_many_at_once(runs):
    called = KINDS["process"]
    values = called.map(range(700), file=runs.file)
    assert values() == [[x, x] for x in range(700)]
    assert runs.count == 700
    assert called.map(range(701), file=runs.file)() == [[x, x] for x in range(701)]
    assert runs.count == 701


def test_as_completed_and_futures(runs):
    called = KINDS["thread"]
    for _ in range(2):
        nodes = [called(x, runs.file) for x in range(5)]
        assert sorted(f.result() for _, f in as_completed(nodes)) == [
            [x, x] for x in range(5)
        ]
        assert called(9, runs.file).submit().result() == [9, 9]
    assert runs.count == 6
    future = called(10, runs.file).submit()
    assert plus(future, [0])() == [10, 10, 0]


def test_order_without_data_holds_for_hits(runs):
    plus(1)()

    @thread
    def fails():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        plus(1).after(fails())()


def test_nested_runs(runs):
    called = KINDS["process"]

    @process
    def outer(x, file):
        return called(x, file)()

    assert outer(1, runs.file)() == [1, 1]
    assert called(1, runs.file)() == [1, 1]
    assert outer(1, runs.file)() == [1, 1]
    assert runs.count == 1


def test_a_run_that_is_cancelled_while_it_looks():
    future = gather(*(plus(x) for x in range(200))).submit()
    future.cancel()
    until(future.done)
    assert plus(1)() == 2


def test_events_say_what_was_kept(monkeypatch):
    from entangle._run import observers
    from entangle._seam import discovery
    from entangle._seam.plugins import Plugins

    seen = []
    plugin = type("Plugin", (), {"trouble": lambda *_: None})()
    monkeypatch.setattr(discovery, "wanted", lambda: True)
    monkeypatch.setattr(Plugins, "implements", lambda *_: True)
    monkeypatch.setattr(
        observers.plugins, "ask", lambda *_, **__: [(plugin, seen.append)]
    )
    for _ in range(2):
        assert plus(41)() == 42
    until(lambda: sum(type(e).__name__ == "RunEnded" for e in seen) == 2)
    ended = [event for event in seen if type(event).__name__ == "NodeEnded"]
    assert [(event.outcome, event.cached) for event in ended] == [
        ("succeeded", False),
        ("succeeded", True),
    ]
    assert sum(type(e).__name__ == "NodeStarted" for e in seen) == 1


RESUMED = """
import os, sys
from dataclasses import dataclass
from entangle.process import process

@dataclass
class Part:
    number: int

@process(cache=True)
def part(number):
    with open(sys.argv[1], "a") as out:
        out.write("x")
    return Part(number)

@process(cache=True)
def whole(parts):
    assert all(type(part) is Part for part in parts)
    return sum(part.number for part in parts)

def main():
    parts = [part(number) for number in range(6)]
    if len(sys.argv) > 2:
        for part_ in parts[:3]:
            assert type(part_()) is Part
        os.kill(os.getpid(), 9)
    assert type(parts[0]()) is Part
    print(whole(parts)())

main()
"""


def test_a_program_that_was_killed_goes_on_where_it_was(tmp_path):
    path, runs = tmp_path / "resumed.py", tmp_path / "runs"
    path.write_text(RESUMED)

    def run(*args):
        return subprocess.run(
            [sys.executable, str(path), str(runs), *args],
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("kill").returncode == -9
    assert runs.read_text() == "xxx"
    for _ in range(2):
        done = run()
        assert (done.stdout, done.stderr) == ("15\n", "")
        assert runs.read_text() == "xxxxxx"


def test_without_assertions_it_is_another_program(tmp_path):
    code = """
from entangle.thread import thread
@thread(cache=True)
def f():
    return __debug__
print(f()())
"""
    path = tmp_path / "debug.py"
    path.write_text(code)
    for options, printed in (([], "True\n"), (["-O"], "False\n"), ([], "True\n")):
        done = subprocess.run(
            [sys.executable, *options, path],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == printed


def test_two_programs_at_once_have_one_cache(tmp_path):
    code = """
import sys
from entangle.process import process
@process(cache=True)
def f(x):
    return [x] * 1000
print(sum(map(len, f.map(range(100))())))
"""
    programs = [program(code) for _ in range(2)]
    for each in programs:
        out, err = each.communicate(timeout=60)
        assert (out, err) == (b"100000\n", b"")


@pytest.mark.parametrize("count", [3, 1000, 30_000, 300_000])
def test_an_argument_that_is_used_again_by_its_owner(count):
    """Key and value are of the same bytes, whenever they are taken."""

    @process(cache=True)
    def summed(values):
        return float(sum(values)) if type(values) is list else float(values.sum())

    for make in (np.array, list) if count < 9 else (np.array,):
        buffer = make([0.0] * count)

        def nodes(buffer=buffer):
            for number in range(30):
                for index in (0, count - 1):
                    buffer[index] = number
                yield summed(buffer)
                buffer[0] = -1.0

        list(as_completed(nodes()))
        for number in range(30):
            for first in (-1.0, float(number)):
                fresh = make([0.0] * count)
                fresh[count - 1], fresh[0] = number, first
                assert summed(fresh)() == number + first
