"""Kept values in flows: keys know the inputs, callbacks hear of kept values too."""

import pytest

from entangle.dataflow import dataflow
from entangle.process import process
from entangle.thread import thread

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").touch()


def note(what):
    import os

    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{what}\n")


@pytest.mark.parametrize("how", [process, thread])
@pytest.mark.parametrize("cache", [True, "run"])
def test_a_stage_is_known_by_its_input(how, cache, tmp_path):
    told = []

    def hear(function, value):
        told.append((function.__name__, value))

    @dataflow(callback=hear)
    @how(cache=cache)
    def double(x, *, add=0):
        note(f"double {x}")
        return 2 * x + add

    @dataflow
    @thread
    def start(x):
        return x

    flow = start(double(add=1), double(add=5))
    assert flow(1) == (3, 7)
    assert flow(2) == (5, 9)
    assert flow(1) == (3, 7)
    runs = (tmp_path / "runs").read_text().split("\n")[:-1]
    once = 2 if cache is True else 4
    assert runs.count("double 1") == once
    assert runs.count("double 2") == 2
    assert sorted(told) == sorted([("double", v) for v in (3, 7, 5, 9, 3, 7)])


def test_a_stream_of_equal_inputs(tmp_path):
    @dataflow
    @process(cache=True)
    def double(x):
        note(x)
        return 2 * x

    @dataflow
    @process
    def inc(x):
        return x + 1

    flow = double(inc())
    assert [leaf for (leaf,) in flow.stream([1, 2, 3] * 20)] == [3, 5, 7] * 20
    assert [leaf for (leaf,) in flow.stream([3, 2, 1])] == [7, 5, 3]
    runs = (tmp_path / "runs").read_text().split()
    assert set(runs) == {"1", "2", "3"}
