"""`entangle bench`: every workload checks its result, and the table shows it."""

import json

import pytest
from site_kit import new_site

from entangle._bench import run
from entangle._bench.peers import Peer
from entangle._cli.main import main
from entangle.task import shutdown

pytestmark = pytest.mark.process

# What takes part without anything installed, and no time worth speaking of.
OURS = ("call", "fanout", "chain", "layers", "fresh", "build", "size", "cache hit")


@pytest.fixture(autouse=True)
def no_pool():
    """The benchmark opens and closes the pool by itself."""
    shutdown()


def test_ours(capsys, tmp_path):
    file = tmp_path / "samples.json"
    only = [part for name in OURS for part in ("--only", name)]
    chosen = ["--peer", "entangle", "--peer", "floor", "--rounds", "1"]
    assert main(["bench", *only, *chosen, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    for name in OURS:
        assert f"{name}: {run.WORKLOADS[name].title}" in out
    assert "entangle process" in out
    assert "floor: a bare worker" in out
    assert "x1.00" in out
    report = json.loads(file.read_text())
    assert report["samples"].keys() == set(OURS)
    assert report["units"]["call"] == "µs"
    assert report["machine"]["cpus"]
    assert all(
        cost > 0
        for by_peer in report["samples"].values()
        for costs in by_peer.values()
        for cost in costs
    )


def test_arrays(capsys):
    rows = ("array", "in place", "array to 8", "8 MB", "stages")
    only = [part for name in rows for part in ("--only", name)]
    peers = ["--peer", "entangle arrays", "--peer", "one process"]
    assert main(["bench", *only, *peers, "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    for name in rows:
        assert f"{name}: {run.WORKLOADS[name].title}" in out
    assert out.count("entangle arrays") == len(rows)


def test_a_peer_that_fails(capsys, monkeypatch):
    class Broken(Peer):
        name = "broken"

        def call(self):
            raise OSError("no more")

    class Absent(Peer):
        name = "absent"
        needs = "no_such_module_anywhere"

    monkeypatch.setattr(run, "OURS", ())
    monkeypatch.setattr(run, "PEERS", (Broken, Absent))
    assert main(["bench", "--only", "call", "--rounds", "1"]) == 1
    out, err = capsys.readouterr()
    assert "broken                         failed" in out
    assert "broken: OSError: no more" in err
    assert "skipped: absent (no_such_module_anywhere not installed)" in err


def test_a_wrong_result_is_no_result(monkeypatch):
    class Wrong(Peer):
        name = "wrong"

        def chain(self, count):
            return count + 1

    samples = run.rounds([Wrong()], ["chain"], 2, 0.01)
    assert samples == {"chain": {"wrong": [None, None]}}


def test_an_unknown_workload(capsys):
    with pytest.raises(SystemExit) as left:
        main(["bench", "--only", "speed"])
    assert left.value.code == 2
    assert "speed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "0"], "at least one"),
        (["--rounds", "-2"], "at least one"),
        (["--peer", "nobody"], "no peer has 'nobody'"),
        (["--json", "/no/such/folder/x.json"], "can't be written"),
        (["--json", "/"], "can't be written"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_measured(
    capsys, monkeypatch, arguments, words
):
    def measured(*_):
        raise AssertionError("measured")

    monkeypatch.setattr(run, "rounds", measured)
    assert main(["bench", *arguments]) == 2
    assert words in capsys.readouterr().err


ROWS = """
from entangle.hooks import Benchmark
LOG = []

def row(work, name, cost, **more):
    def measure(scale):
        LOG.append((name, "measure"))
        return cost * scale / scale
    def told(what):
        return lambda: LOG.append((name, what))
    return Benchmark(work, name, measure, open=told("open"), close=told("close"), **more)

def fails(scale):
    raise OSError("no more")

@hookimpl
def entangle_bench():
    return [
        row("call", "by hand", 1000.0),
        row("tea", "kettle", 10.0, unit="ms", title="a cup of tea", beside="kettle"),
        row("tea", "campfire", 30.0, unit="ms", beside="kettle"),
        Benchmark("tea", "microwave", fails, "ms"),
        row("tea", "samovar", 1.0, unit="ms", missing=lambda: "no samovar here"),
        row("tea", "thermos", 1.0, unit="ms", missing=lambda: "no samovar here"),
        row("tea", "volcano", 1.0, unit="ms", missing=lambda: 1 / 0),
    ]
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    for made in new_site(tmp_path, monkeypatch):
        made.use(monkeypatch)
        yield made


def test_rows_of_plugins(site, capsys, tmp_path):
    site.add("rows", ROWS)
    file = tmp_path / "samples.json"
    peers = [
        part for name in ("hand", "kettle", "campfire") for part in ("--peer", name)
    ]
    only = ["--only", "tea", "--only", "call", "--rounds", "2"]
    assert main(["bench", *only, *peers, "--peer", "sam", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["by", "hand", "1,000.0", "1,000/s"] in lines
    assert "tea: a cup of tea (ms, lower is better)" in out
    assert ["kettle", "10.0", "x1.00"] in lines
    assert ["campfire", "30.0", "x3.00"] in lines
    assert err.splitlines()[-1] == "skipped: samovar (no samovar here)"
    report = json.loads(file.read_text())
    assert report["units"] == {"call": "µs", "tea": "ms"}
    log = site.module("rows").LOG
    assert [what for name, what in log if name == "kettle"] == [
        "open",
        "measure",
        "close",
    ] * 2


def test_rows_that_fail_or_cannot_be_measured(site, capsys):
    """One line for each reason, and the others are measured."""
    site.add("rows", ROWS)
    assert main(["bench", "--only", "tea", "--rounds", "1"]) == 1
    out, err = capsys.readouterr()
    assert "microwave                      failed" in out
    assert "campfire" in out
    assert "microwave: OSError: no more" in err
    assert "skipped: samovar, thermos (no samovar here)" in err
    assert "skipped: volcano (ZeroDivisionError: division by zero)" in err


@pytest.mark.parametrize("unit", ["", "furlongs"])
def test_rows_that_do_not_fit(site, capsys, unit):
    """They are their plugin's trouble, and nobody else's."""
    work = "call" if unit else "juggling"
    source = "from entangle.hooks import Benchmark\n@hookimpl\ndef entangle_bench():\n"
    source += f"    return [Benchmark({work!r}, 'odd', float, {unit!r})]\n"
    site.add("odd", source)
    peers = ["--peer", "floor", "--peer", "odd"]
    assert main(["bench", "--only", "call", "--rounds", "1", *peers]) == 0
    assert "odd" not in capsys.readouterr().out
    (plugin,) = [each for each in site.plugins.all() if each.name == "odd"]
    assert work in "\n".join(plugin.problems)
