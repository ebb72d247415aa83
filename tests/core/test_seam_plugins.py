"""Plugins are found, loaded and asked, and a broken one harms nothing else."""

import gc
import inspect
import subprocess
import sys
import threading
import types
import weakref
import zipfile
from importlib.metadata import FastPath, PathDistribution

import gates
import pytest
from gates import Gate
from site_kit import HEAD, PLACE, Site, new_site

from entangle import hooks
from entangle._cli import checks
from entangle._cli import main as cli
from entangle._run import lanes, observers
from entangle._seam import discovery
from entangle._seam.events import (
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeRetried,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle._seam.planned import PlannedTask
from entangle._seam.plugins import Plugins
from entangle.backend import ThreadExecutor
from entangle.dataflow import dataflow
from entangle.errors import FlowError, PluginError
from entangle.hooks import Command, Finding
from entangle.process import process
from entangle.task import as_completed, gather, task
from entangle.thread import thread

PATIENCE = 20.0


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Distributions of the test, and no others."""
    yield from new_site(tmp_path, monkeypatch)


@pytest.fixture
def installed(site, monkeypatch):
    """Plugins that are not loaded yet, in use everywhere."""
    site.use(monkeypatch)
    return site.plugins


def by_name(plugins):
    return {plugin.name: plugin for plugin in plugins.all()}


def problems(plugins, name):
    """Return what is wrong with a plugin, as one text."""
    return "\n".join(by_name(plugins)[name].problems)


# -- discovery --------------------------------------------------------------------


def found(*names):
    """Return which of some distributions are found to have a plugin."""
    return [e.distribution for e in discovery.found() if e.distribution in names]


def only_path(monkeypatch, *folders):
    monkeypatch.setattr(sys, "path", list(map(str, folders)))


def test_a_plugin_is_loaded(site):
    site.add("good", PLACE % "good_place")
    plugins = Plugins()
    assert plugins.may_exist()
    good = by_name(plugins)["good"]
    assert good.loaded
    assert good.problems == []
    assert good.hooks == ("entangle_executors",)
    assert (good.distribution, good.version, good.module) == (
        "good-dist",
        "1.0",
        "good_plugin",
    )
    plugin, factory = plugins.executor("good_place")
    assert (plugin, factory) == (good, ThreadExecutor)


def test_a_plugin_may_be_an_object_of_a_module(site):
    source = "class It:\n    ENTANGLE_SPI = 1\n" + "".join(
        f"    {line}\n" for line in (PLACE % "its_place").strip().splitlines()
    ).replace("executors()", "executors(self)")
    site.add("good", f"{source}\nit = It()", entry="good = good_plugin:it")
    plugins = Plugins()
    assert problems(plugins, "good") == ""
    assert plugins.executor("its_place")[0].module == "good_plugin:it"


def test_plugins_are_loaded_once_by_whoever_comes_first(site):
    site.add("good", PLACE % "good_place")
    plugins = Plugins()
    barrier = threading.Barrier(4)
    got = []

    def look_up():
        barrier.wait()
        got.append(plugins.executor("good_place")[1])

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert got == [ThreadExecutor] * 4
    names = [plugin.name for plugin in plugins.all()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("entry_points", "expected"),
    [
        ("[entangle]\na = b\n", True),
        ("[console_scripts]\nx = y:z\n\n[entangle]\na = b\n", True),
        ("[console_scripts]\nentangle = y:z\n", False),
        ("[entangle.more]\na = b\n", False),
        ("", False),
        (None, False),
    ],
)
def test_may_exist_agrees_with_what_is_found(site, monkeypatch, entry_points, expected):
    site.dist("some-dist", entry_points)
    only_path(monkeypatch, site.folder)
    assert discovery.may_exist() is expected
    assert bool(found("some-dist")) is expected


@pytest.mark.parametrize("name", ["old.egg-info", "old.egg/EGG-INFO"])
def test_may_exist_knows_old_kinds_of_metadata(site, monkeypatch, name):
    folder = site.folder / name
    folder.mkdir(parents=True)
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[entangle]\nold = old_plugin\n")
    only_path(monkeypatch, folder.parent)
    assert found("old") == ["old"]
    assert discovery.may_exist()


def test_may_exist_of_an_archive(site, monkeypatch):
    archive = site.folder / "plugins.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-1.0.dist-info/METADATA", "Name: zipped\nVersion: 1.0\n")
        entry_points = "[entangle]\nzipped = json:loads [fast]\n"
        file.writestr("zipped-1.0.dist-info/entry_points.txt", entry_points)
    only_path(monkeypatch, archive)
    assert found("zipped") == ["zipped"]
    assert [e.load()("1") for e in discovery.found() if e.name == "zipped"] == [1]
    assert discovery.may_exist()
    # importlib keeps the archive open.
    FastPath.__new__.cache_clear()
    gc.collect()


def test_an_author_whose_name_is_written_otherwise(site, monkeypatch):
    """Only the author's, so that is no reason to pass over it."""
    folder = site.folder / "latin-1.0.dist-info"
    folder.mkdir()
    text = "Name: latin\nVersion: 1.0\nAuthor: Andr\xe9\n"
    (folder / "METADATA").write_bytes(text.encode("latin-1"))
    (folder / "entry_points.txt").write_text("[entangle]\nlatin = json:loads\n")
    only_path(monkeypatch, site.folder)
    assert found("latin") == ["latin"]


def test_several_without_a_name_in_an_archive(site, monkeypatch):
    archive = site.folder / "plugins.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("one", "two"):
            file.writestr(f"{name}-1.0.dist-info/METADATA", "Version: 1.0\n")
            entry = f"[entangle]\n{name} = json:loads\n"
            file.writestr(f"{name}-1.0.dist-info/entry_points.txt", entry)
    only_path(monkeypatch, archive)
    assert {entry.name for entry in discovery.found()} == {"one", "two"}
    FastPath.__new__.cache_clear()
    gc.collect()


def test_folders_that_are_not_there_hold_nothing(site, monkeypatch):
    only_path(monkeypatch, site.folder / "no" / "where")
    assert not discovery.may_exist()


def test_a_distribution_that_is_installed_twice_counts_where_it_is_first(
    site, monkeypatch, tmp_path
):
    other = Site(tmp_path / "other")
    monkeypatch.setattr(sys, "path", [str(other.folder), *sys.path])
    site.dist("twice-dist", "[entangle]\nold = old_plugin\n")
    other.dist("twice-dist", "[entangle]\nnew = new_plugin\n", version="2.0")
    assert [(each.name, each.version) for each in discovery.found()].count(
        ("new", "2.0")
    ) == len(found("twice-dist"))


def test_eggs_are_told_apart(site, monkeypatch):
    eggs = []
    for name, entry_points in (("plain", ""), ("plug", "[entangle]\np = plug\n")):
        eggs.append(site.folder / f"{name}-1.0-py3.11.egg")
        folder = eggs[-1] / "EGG-INFO"
        folder.mkdir(parents=True)
        (folder / "PKG-INFO").write_text(f"Name: {name}\nVersion: 1\n")
        (folder / "entry_points.txt").write_text(entry_points)
    only_path(monkeypatch, *eggs)
    assert found("plain", "plug") == ["plug"]


@pytest.mark.parametrize("entry", [b"/tmp", 5.5, "a\0b"])
def test_a_path_that_makes_no_sense_holds_nothing(site, monkeypatch, entry):
    site.dist("some-dist", "[entangle]\na = b\n")
    monkeypatch.setattr(sys, "path", [entry, str(site.folder)])
    assert discovery.may_exist()
    assert found("some-dist") == ["some-dist"]


def test_a_name_may_be_spelled_in_other_ways(site, monkeypatch, tmp_path):
    other = Site(tmp_path / "other")
    monkeypatch.setattr(sys, "path", [str(other.folder), *sys.path])
    site.dist("Some.Dist", "[entangle]\nold = old_plugin\n")
    other.dist("some-dist", "[entangle]\nnew = new_plugin\n")
    assert found("some-dist", "Some.Dist") == ["some-dist"]


def test_entry_points_are_read_as_others_read_them(site, monkeypatch):
    """By importlib.metadata, which is not used here since it is slow to import."""
    text = (
        "# a comment\n[other]\nnot = ours\n\n [entangle] \n#off = no\n"
        " a=b.c \nd = e:f.g [extra]\n\n[entangle.more]\nnor = this\n"
    )
    site.dist("some-dist", text, metadata="Name: some-dist\nVersion: 3\n\nName: no\n")
    only_path(monkeypatch, site.folder)
    entries = PathDistribution(next(site.folder.glob("*.dist-info"))).entry_points
    theirs = [
        (entry.name, entry.module, entry.attr)
        for entry in entries
        if entry.group == "entangle" and entry.value
    ]
    ours = [each for each in discovery.found() if each.value]
    assert [(each.distribution, each.version) for each in ours] == [
        ("some-dist", "3")
    ] * 2
    assert [(e.name, *e.value.partition(":")[::2]) for e in ours] == [
        (name, module, attribute or "") for name, module, attribute in theirs
    ]


def test_a_first_run_finds_plugins_without_reading_all_metadata(site):
    site.add("good", PLACE % "good_place")
    code = (
        f"import sys; sys.path.insert(0, {str(site.folder)!r})\n"
        "from entangle._seam import discovery\n"
        "from entangle.thread import thread\n"
        "assert thread(len)('abc')() == 3\n"
        "assert 'good_plugin' in sys.modules\n"
        "assert 'importlib.metadata' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_hidden_installation_has_no_plugins(site, monkeypatch, tmp_path):
    other = Site(tmp_path / "other")
    monkeypatch.setattr(sys, "path", [str(other.folder), *sys.path])
    site.dist("twice-dist", "[entangle]\nold = old_plugin\n")
    other.dist("twice-dist", None, version="2.0")
    assert found("twice-dist") == []


@pytest.mark.parametrize(
    ("value", "off"),
    [
        ("1", None),
        ("all", None),
        (" True ", None),
        ("*", None),
        ("", set()),
        ("0", set()),
        ("one, two,", {"one", "two"}),
    ],
)
def test_what_is_switched_off(monkeypatch, value, off):
    monkeypatch.setenv(discovery.DISABLE, value)
    assert discovery.disabled() == off


def test_all_plugins_switched_off(site, monkeypatch):
    site.add("good", PLACE % "good_place")
    monkeypatch.setenv(discovery.DISABLE, "1")
    plugins = Plugins()
    assert not plugins.may_exist()
    assert list(by_name(plugins)) == ["core"]
    assert plugins.executor("process")
    assert not plugins.may_exist()
    assert "good_plugin" not in sys.modules


def test_one_plugin_switched_off(site, monkeypatch):
    site.add("good", PLACE % "good_place")
    site.add("bad", "raise SystemExit")
    monkeypatch.setenv(discovery.DISABLE, "bad")
    plugins = Plugins()
    assert plugins.executor("good_place")
    assert "bad" not in by_name(plugins)
    assert "bad_plugin" not in sys.modules
    assert plugins.off == ("bad",)


# -- plugins that can't be loaded ---------------------------------------------------

IMPL = "@hookimpl\ndef "
NOT_LOADED = {
    "ImportError": (HEAD, "raise ImportError('no engine')", "ImportError: no engine"),
    "no module": (HEAD, "import no_such_module_x", "No module named 'no_such_module_x"),
    "SyntaxError": (HEAD, "def (", "SyntaxError"),
    "SystemExit": (HEAD, "raise SystemExit(3)", "SystemExit: 3"),
    "no version": ("", "x = 1", "ENTANGLE_SPI = 1 is missing from bad_plugin"),
    "newer": ("ENTANGLE_SPI = 2", "", "version 2 of the plugin interface"),
    "newer advice": ("ENTANGLE_SPI = 2", "", "upgrade entangle-core"),
    "older": ("ENTANGLE_SPI = 0", "", "upgrade bad-dist"),
    "strange": ("ENTANGLE_SPI = '1'", "", "version '1' of the plugin interface"),
    "misspelt": (HEAD, IMPL + "entangle_observ(run): ...", "mean entangle_observe()?"),
    "unknown": (HEAD, IMPL + "entangle_x(): ...", "there is no hook entangle_x()"),
    "other name": (HEAD, IMPL + "observe(run): ...", "unknown hook 'observe'"),
    "unmarked": (
        HEAD,
        "def entangle_observe(run): ...",
        "entangle_observe() does not carry @hookimpl",
    ),
    "argument": (HEAD, IMPL + "entangle_observe(run, colour): ...", "colour"),
    "wrapper": (
        HEAD,
        "@hookimpl(wrapper=True)\ndef entangle_observe(run):\n    return (yield)",
        "entangle_observe() is a wrapper: hooks only add",
    ),
    "old wrapper": (
        HEAD,
        "@hookimpl(hookwrapper=True)\ndef entangle_observe(run):\n    yield",
        "entangle_observe() is a wrapper: hooks only add",
    ),
    "strange module": (
        "",
        "def __getattr__(name):\n    raise RuntimeError(name)",
        "ENTANGLE_SPI",
    ),
}


@pytest.mark.parametrize(
    ("head", "source", "words"), NOT_LOADED.values(), ids=NOT_LOADED
)
def test_a_plugin_that_cannot_be_loaded_is_named_and_harms_none(
    site, caplog, head, source, words
):
    site.add("good", PLACE % "good_place")
    site.add("bad", source, head=head + "\n")
    site.add("zzz", PLACE % "last_place")
    plugins = Plugins()
    assert plugins.executor("good_place")
    assert plugins.executor("last_place")
    assert plugins.executor("process")
    assert words in problems(plugins, "bad")
    assert not by_name(plugins)["bad"].loaded
    assert by_name(plugins)["bad"].hooks == ()
    assert problems(plugins, "good") == problems(plugins, "core") == ""
    said = [record.getMessage() for record in caplog.records]
    assert any("'bad' (bad-dist)" in text and words in text for text in said)
    # And it is not called.
    assert "bad" not in {plugin.name for plugin, _ in plugins.ask("entangle_doctor")}


@pytest.mark.parametrize("entry", ["bad_plugin:nothing", "not a module!", "bad plugin"])
def test_an_entry_point_that_leads_nowhere(site, entry):
    site.add("good", PLACE % "good_place")
    site.add("bad", entry=f"bad = {entry}")
    plugins = Plugins()
    assert plugins.executor("good_place")
    assert "can't be imported" in problems(plugins, "bad")


def test_all_hooks_of_a_plugin_are_taken_or_none(site):
    site.add("bad", PLACE % "its_place" + IMPL + "entangle_observ(run): ...")
    plugins = Plugins()
    with pytest.raises(PluginError, match="no executor named 'its_place'") as caught:
        plugins.executor("its_place")
    assert "something is wrong with bad: see `entangle plugins`" in str(caught.value)


def test_two_entry_points_of_one_name(site):
    site.add("same", PLACE % "first_place")
    site.add("other", PLACE % "second_place", entry="same = other_plugin", of="zzz")
    plugins = Plugins()
    assert [plugin.name for plugin in plugins.all()].count("same") == 2
    offers = {name for name in plugins.executors() if name.endswith("_place")}
    assert len(offers) == 1
    second = plugins.all()[-1]
    assert not second.loaded
    assert "its name is taken by the plugin 'same' of" in second.problems[0]


def test_entry_points_that_cannot_be_read_are_passed_over(site):
    site.add("good", PLACE % "good_place")
    site.dist("broken-dist", "[entangle]\nno equals sign\n")
    plugins = Plugins()
    assert plugins.may_exist()
    assert plugins.executor("good_place")
    assert problems(plugins, "good") == problems(plugins, "core") == ""


@pytest.mark.parametrize("metadata", ["", "Metadata-Version: 2.1\n", "\0"])
def test_metadata_without_a_name(site, metadata):
    """It is passed over, or called something, but never None."""
    site.add("good", PLACE % "good_place")
    site.add("bad", metadata=metadata)
    plugins = Plugins()
    assert plugins.executor("good_place")
    assert "None" not in "".join(plugin.label() for plugin in plugins.all())


def test_an_interrupt_while_loading_can_be_followed_by_another_try(site):
    site.add("good", PLACE % "good_place")
    site.add("later", "raise KeyboardInterrupt")
    plugins = Plugins()
    with pytest.raises(KeyboardInterrupt):
        plugins.all()
    (site.folder / "later_plugin.py").write_text(HEAD + PLACE % "later_place" + "#" * 9)
    assert plugins.executor("later_place")
    assert plugins.executor("good_place")
    assert plugins.executor("process")
    assert [plugin.problems for plugin in plugins.all()] == [[]] * len(plugins.all())


def test_a_plugin_that_runs_a_graph_when_it_is_imported(installed, site):
    source = "from entangle.thread import thread\nassert thread(len)([1])() == 1\n"
    site.add("good", PLACE % "good_place")
    site.add("runs", source + PLACE % "its_place")
    assert thread(len)([1, 2])() == 2
    assert installed.executor("good_place")
    assert installed.executor("its_place")
    assert problems(installed, "runs") == ""


def test_slow_plugins_are_told_of(installed, site, monkeypatch, capsys):
    monkeypatch.setattr("entangle._cli.checks.SLOW", -1.0)
    monkeypatch.setattr(checks, "CHECKS", ())
    site.add("slow", PLACE % "slow_place")
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "warn  plugin slow    takes 0.0 s to import" in out
    assert "ask slow-dist to import what is heavy in functions" in out


# -- names of executors ---------------------------------------------------------------


def test_a_name_that_two_plugins_give(site):
    for name in ("one", "two"):
        site.add(name, PLACE % "same_place")
    site.add("good", PLACE % "good_place")
    plugins = Plugins()
    with pytest.raises(PluginError) as caught:
        plugins.executor("same_place")
    assert str(caught.value) == (
        "the executor name 'same_place' is given by plugin 'one' of one-dist 1.0 and "
        "plugin 'two' of two-dist 1.0: switch one off with ENTANGLE_DISABLE_PLUGINS=two"
    )
    assert "also by plugin 'two' of two-dist" in problems(plugins, "one")
    assert "also by plugin 'one' of one-dist" in problems(plugins, "two")
    assert plugins.executor("good_place")


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_names_of_core_are_taken_whatever_a_plugin_is_called(site, name):
    site.add(name, PLACE % "process")
    plugins = Plugins()
    plugin, _ = plugins.executor("process")
    assert plugin.name == "core"
    assert "'process' is taken by core" in problems(plugins, name)
    assert problems(plugins, "core") == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("None", "gave no mapping"),
        ("7", "gave no mapping"),
        ("['xyz']", "gave no mapping"),
        ("{3: print}", "gave 3, which is no name"),
        ("{'no name': print}", "gave 'no name', which is no name"),
        ("{'its_place': 3}", "the executor 'its_place' is nothing that can be called"),
        ("1 / 0", "entangle_executors() failed: ZeroDivisionError"),
    ],
)
def test_executors_that_are_none(site, given, words):
    site.add("bad", f"{IMPL}entangle_executors():\n    return {given}")
    site.add("good", PLACE % "good_place")
    plugins = Plugins()
    assert plugins.executor("good_place")
    assert words in problems(plugins, "bad")
    with pytest.raises(PluginError):
        plugins.executor("its_place")


def test_a_name_that_is_not_there(site):
    site.add("good", PLACE % "good_place")
    plugins = Plugins()
    with pytest.raises(PluginError, match="did you mean 'good_place'?") as caught:
        plugins.executor("god_place")
    assert caught.value.plugin == ""
    with pytest.raises(PluginError) as caught:
        plugins.executor("xyzzy")
    assert "there are good_place, inline, process, thread" in str(caught.value)


# -- hooks ------------------------------------------------------------------------------

HOOKS = {
    name: list(inspect.signature(hook).parameters)
    for name, hook in vars(hooks).items()
    if name.startswith("entangle_")
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_raises_is_named_and_the_others_are_called(site, caplog, name):
    parameters = ", ".join(HOOKS[name])
    for plugin, body in (("bad", "1 / 0"), ("good", "[]")):
        site.add(plugin, f"{IMPL}{name}({parameters}):\n    return {body}")
    plugins = Plugins()
    given = dict.fromkeys(HOOKS[name])
    answers = {plugin.name: value for plugin, value in plugins.ask(name, **given)}
    assert answers["good"] == []
    assert "bad" not in answers
    words = f"{name}() failed: ZeroDivisionError"
    assert words in problems(plugins, "bad")
    assert any(
        "'bad' (bad-dist)" in record.getMessage() and words in record.getMessage()
        for record in caplog.records
    )
    # Told once, however often it fails.
    list(plugins.ask(name, **given))
    assert len(by_name(plugins)["bad"].problems) == 1


def test_a_hook_that_leaves_the_program(installed, site):
    site.add("bad", f"{IMPL}entangle_observe(run):\n    raise SystemExit(3)")
    assert thread(len)([1])() == 1
    assert "entangle_observe() failed: SystemExit: 3" in problems(installed, "bad")


def test_a_hook_may_take_fewer_parameters(site):
    site.add("good", f"{IMPL}entangle_estimate():\n    return ['free']")
    plugins = Plugins()
    texts = [text for _, text in plugins.each("entangle_estimate", str, task=None)]
    assert texts == ["free"]


@pytest.mark.parametrize(
    ("hook", "kind", "given"),
    [
        ("entangle_doctor", Finding, "[('ok', 'x', 'y', ''), None]"),
        ("entangle_doctor", Finding, "None"),
        ("entangle_commands", Command, "['run']"),
        ("entangle_estimate", str, "[3.5]"),
        ("entangle_estimate", str, "'one line for all'"),
        ("entangle_doctor", Finding, "(1 / n for n in [0])"),
    ],
)
def test_what_is_no_such_thing_is_left_out_and_told(site, hook, kind, given):
    parameters = ", ".join(HOOKS[hook])
    site.add("bad", f"{IMPL}{hook}({parameters}):\n    return {given}")
    plugins = Plugins()
    arguments = dict.fromkeys(HOOKS[hook])
    assert [
        t for p, t in plugins.each(hook, kind, **arguments) if p.name == "bad"
    ] == []
    assert hook in problems(plugins, "bad")


def test_every_documented_signature_is_called_as_documented(
    installed, site, monkeypatch, capsys
):
    """Each hook with exactly its documented parameters, where the program calls it."""
    source = "CALLS = {}\n"
    for name, parameters in HOOKS.items():
        given = ", ".join(parameters)
        value = "{'its_place': object}" if name == "entangle_executors" else "()"
        if name == "entangle_observe":
            value = "None"
        source += (
            f"{IMPL}{name}({given}):\n    CALLS['{name}'] = [{given}]\n"
            f"    return {value}\n"
        )
    site.add("all", source)
    assert thread(len)([1])() == 1
    task(executor="its_place")(len)([1]).plan()
    monkeypatch.setattr(checks, "CHECKS", ())
    assert cli.main(["doctor"]) == 0
    assert cli.main(["sweep", "--older-than", "3"]) == 0
    assert cli.main(["no-such-command"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    capsys.readouterr()
    calls = sys.modules["all_plugin"].CALLS
    assert problems(installed, "all") == ""
    assert calls.keys() == HOOKS.keys()
    kinds = {name: list(map(type, given)) for name, given in calls.items()}
    assert kinds == {
        "entangle_executors": [],
        "entangle_bench": [],
        "entangle_commands": [],
        "entangle_doctor": [],
        "entangle_observe": [RunStarted],
        "entangle_estimate": [PlannedTask],
        "entangle_sweep": [float],
    }
    assert calls["entangle_sweep"] == [3.0]


# -- observers ------------------------------------------------------------------------

WATCHER = """
import queue
ASKED, EVENTS = [], queue.SimpleQueue()
@hookimpl
def entangle_observe(run):
    ASKED.append(run)
    return EVENTS.put
"""


class Watcher:
    """A plugin that observes, from the tests' side."""

    def __init__(self, site, plugins):
        site.add("watcher", WATCHER)
        assert "watcher" in by_name(plugins)
        self.module = sys.modules["watcher_plugin"]

    def run(self):
        """Return the events of one run, when it is over."""
        events = [self.module.EVENTS.get(timeout=PATIENCE)]
        while type(events[-1]) is not RunEnded:
            events.append(self.module.EVENTS.get(timeout=PATIENCE))
        assert len({event.run for event in events}) == 1
        return events

    def words(self):
        """Return the events of one run in short, but for what was added."""
        return [short(event) for event in self.run() if type(event) is not NodeAdded]

    def nothing_more(self):
        """Tell whether no event is left, once all that was sent has come."""
        return self.module.EVENTS.empty()


def short(event):
    """Show an event in a line."""
    match event:
        case RunStarted():
            return f"run {event.name} of {event.nodes}"
        case NodeStarted():
            return f"{event.name} {event.attempt} started in {event.place}"
        case NodeOutput():
            return f"{event.name} {event.stream} {event.text!r}"
        case NodeRetried():
            return f"{event.name} {event.attempt} follows"
        case NodeEnded():
            error = f": {event.error}" * bool(event.error)
            return f"{event.name} {event.attempt} {event.outcome}{error}"
        case RunEnded():
            error = f": {event.error}" * bool(event.error)
            return f"run {event.outcome}{error}"
    raise AssertionError(event)


@pytest.fixture
def watcher(installed, site):
    return Watcher(site, installed)


def add(a, b):
    return a + b


def one():
    return 1


def say(text, fail=False):
    print(text)
    if fail:
        raise ValueError(f"not {text}\nat all")
    return text


def test_the_events_of_a_run_in_threads(watcher):
    assert thread(add)(thread(one)(), 2)() == 3
    assert watcher.words() == [
        "run add of 2",
        "one 1 started in thread",
        "one 1 succeeded",
        "add 1 started in thread",
        "add 1 succeeded",
        "run succeeded",
    ]
    (asked,) = watcher.module.ASKED
    assert short(asked) == "run add of 2"


def test_events_carry_numbers_and_times(watcher):
    assert thread(add)(thread(one)(), 2)() == 3
    events = watcher.run()
    assert events[0] is watcher.module.ASKED[0]
    nodes = [event.node for event in events if hasattr(event, "node")]
    assert nodes == [1, 2, 1, 1, 2, 2]
    times = [event.time for event in events]
    assert times == sorted(times)
    assert thread(one)() != thread(one)()
    thread(one)()()
    assert watcher.run()[0].run != events[0].run


@pytest.mark.process
def test_the_events_of_a_run_in_processes(watcher):
    for _ in range(10):
        assert process(say)("hello")() == "hello"
        assert watcher.words() == [
            "run say of 1",
            "say 1 started in process",
            "say stdout 'hello\\n'",
            "say 1 succeeded",
            "run succeeded",
        ]


@pytest.mark.process
def test_retries_are_attempts(watcher, capfd):
    failing = process(retry=1)(say)
    with pytest.raises(ValueError, match="not x"):
        failing("x", fail=True)()
    assert watcher.words() == [
        "run say of 1",
        "say 1 started in process",
        "say stdout 'x\\n'",
        "say 1 failed: ValueError: not x",
        "say 2 follows",
        "say 2 started in process",
        "say stdout 'x\\n'",
        "say 2 failed: ValueError: not x",
        "run failed: ValueError: not x",
    ]


def test_an_error_that_cannot_be_shown(watcher):
    class ShyError(Exception):
        def __str__(self):
            raise RuntimeError

    def fail():
        raise ShyError

    with pytest.raises(ShyError):
        thread(fail)()()
    assert watcher.run()[-1].error == "ShyError: (its message cannot be shown)"


@pytest.mark.process
def test_returned_nodes_are_events_of_their_own(watcher):
    def more():
        return thread(add)(1, 2)

    assert process(more)()() == 3
    name = more.__qualname__
    assert watcher.words() == [
        f"run {name} of 1",
        f"{name} 1 started in process",
        f"{name} 1 expanded",
        "add 1 started in thread",
        "add 1 succeeded",
        "run succeeded",
    ]


def test_the_events_of_a_flow(watcher):
    """What nothing reaches is skipped, and so is a branch that is not taken."""
    below = dataflow(below_it)()
    left, right = dataflow(to_left)(below), dataflow(to_right)()
    flow = dataflow(one_of)(
        dataflow(fail_with)(below, lambda value: left),
        lambda value: left if value else right,
    )
    with pytest.raises(FlowError):
        flow(0)
    words = watcher.words()
    assert words[:3] == [
        "run one_of of 5",
        "one_of 1 started in thread",
        "one_of 1 succeeded",
    ]
    assert words[-1].startswith("run failed: FlowError: a function")
    name = "test_the_events_of_a_flow.<locals>.<lambda>"
    assert sorted(words[3:-1]) == [
        "below_it 0 skipped",
        "below_it 0 skipped",
        "fail_with 1 failed: ValueError: 0",
        "fail_with 1 started in thread",
        f"{name} 0 skipped",
        f"{name} 1 expanded",
        f"{name} 1 started in thread",
        "to_left 0 skipped",
        "to_right 1 started in thread",
        "to_right 1 succeeded",
    ]


def one_of(value):
    return value


def fail_with(value):
    raise ValueError(value)


def below_it(value):
    return value


def to_left(value):
    return value


def to_right(value):
    return value


@pytest.mark.process
def test_nested_runs_are_not_observed(watcher):
    def outer():
        return thread(add)(process(one)()(), 2)()

    assert process(outer)()() == 3
    name = outer.__qualname__
    assert watcher.words() == [
        f"run {name} of 1",
        f"{name} 1 started in process",
        f"{name} 1 succeeded",
        "run succeeded",
    ]
    assert watcher.nothing_more()
    assert len(watcher.module.ASKED) == 1


@pytest.mark.process
def test_a_cancelled_run(watcher, tmp_path):
    gate = Gate(tmp_path)
    future = process(gates.through)(gate.path).submit()
    gate.reached()
    assert future.cancel()
    assert watcher.words() == [
        "run through of 1",
        "through 1 started in process",
        "through 1 killed",
        "run cancelled",
    ]
    gate.close()


def test_what_is_abandoned_has_an_end(watcher):
    release = threading.Event()
    begun = threading.Event()

    def wait():
        begun.set()
        assert release.wait(PATIENCE)

    future = thread(wait)().submit()
    assert begun.wait(PATIENCE)
    future.cancel()
    assert watcher.words()[-2:] == [f"{wait.__qualname__} 1 abandoned", "run cancelled"]
    release.set()


def test_as_completed_is_one_run(watcher):
    nodes = [thread(add)(n, 1) for n in range(3)]
    values = sorted(future.result() for _, future in as_completed(nodes))
    assert values == [1, 2, 3]
    words = watcher.words()
    assert words[0].startswith("run ")
    assert words[-1] == "run succeeded"
    assert sorted(words[1:-1]) == sorted(
        ["add 1 started in thread", "add 1 succeeded"] * 3
    )


def test_a_coroutine_and_a_workflow(watcher):
    async def wait():
        return 1

    from entangle.workflow import workflow

    assert gather(thread(wait)(), workflow(one)())() == [1, 1]
    words = watcher.words()
    assert f"{wait.__qualname__} 1 started in thread" in words
    assert "one 1 started in workflow" in words


def test_a_target_is_named_as_the_place(watcher):
    assert task(executor="thread")(one)()() == 1
    assert "one 1 started in thread" in watcher.words()


@pytest.mark.process
def test_the_place_is_where_it_runs(watcher, monkeypatch):
    monkeypatch.setenv("ENTANGLE_TARGETS", "thread=local")
    assert task(executor="thread")(one)()() == 1
    assert "one 1 started in process" in watcher.words()


def test_inline_runs_are_observed(watcher, monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    assert thread(add)(thread(one)(), 2)() == 3
    assert watcher.words()[-1] == "run succeeded"


def test_an_observer_that_raises_is_named_and_harms_none(installed, site, caplog):
    source = (
        "EVENTS = []\ndef observe(event):\n    EVENTS.append(event)\n    raise %s\n"
    )
    hook = f"{IMPL}entangle_observe(run):\n    return observe\n"
    site.add("bad", source % "SystemExit(3)" + hook)
    site.add("worse", source % "ValueError('no')" + hook)
    site.add("none", "def observe(event): 1 / 0\n" + hook.replace(" observe\n", " 3\n"))
    watcher = Watcher(site, installed)
    for count in (1, 2):
        assert thread(one)()() == 1
        assert len(watcher.words()) == 4
        # Not called again for that run.
        assert len(sys.modules["bad_plugin"].EVENTS) == count
        assert len(sys.modules["worse_plugin"].EVENTS) == count
    assert "an observer failed: SystemExit: 3" in problems(installed, "bad")
    assert "an observer failed: ValueError: no" in problems(installed, "worse")
    assert "an observer failed: TypeError" in problems(installed, "none")
    assert any("'worse' (worse-dist)" in r.getMessage() for r in caplog.records)


def test_an_observer_that_is_none(installed, site):
    site.add("none", f"{IMPL}entangle_observe(run):\n    return None")
    assert thread(one)()() == 1
    assert problems(installed, "none") == ""
    run = types.SimpleNamespace(identifier="20260101-120000-0123abcd")
    assert observers.watch(run, 1, "") is None


@pytest.fixture
def blocking(installed, site):
    """An observer that is let go at the end of the test, or before."""
    source = (
        "import threading, queue\n"
        "ENTERED, GO = threading.Event(), threading.Event()\n"
        "EVENTS = queue.SimpleQueue()\n"
        "def observe(event):\n"
        "    ENTERED.set()\n    GO.wait(60)\n    EVENTS.put(event)\n"
        f"{IMPL}entangle_observe(run):\n    return observe\n"
    )
    site.add("blocking", source)
    assert "blocking" in by_name(installed)
    module = sys.modules["blocking_plugin"]
    yield module
    module.GO.set()


def test_an_observer_that_blocks_delays_no_run(blocking):
    assert thread(add)(thread(one)(), 2)() == 3
    assert blocking.ENTERED.wait(PATIENCE)
    assert thread(one)()() == 1
    assert blocking.EVENTS.empty()
    blocking.GO.set()
    names = []
    while names.count("RunEnded") < 2:
        names.append(type(blocking.EVENTS.get(timeout=PATIENCE)).__name__)
    assert names == [
        "RunStarted",
        *["NodeAdded"] * 2,
        *["NodeStarted", "NodeEnded"] * 2,
        "RunEnded",
        "RunStarted",
        "NodeAdded",
        "NodeStarted",
        "NodeEnded",
        "RunEnded",
    ]


def test_who_is_too_far_behind_is_told_how_many_events_it_missed(blocking, monkeypatch):
    monkeypatch.setattr(lanes, "MOST_BEHIND", 3)

    def wait():
        # The first event is being looked at before more than the second is made.
        return blocking.ENTERED.wait(PATIENCE)

    nodes = [thread(wait)()]
    nodes.extend(thread(one)().after(nodes[0]) for _ in range(4))
    assert gather(*nodes)() == [True, 1, 1, 1, 1]
    blocking.GO.set()
    events = []
    while not events or type(events[-1]) is not RunEnded:
        events.append(blocking.EVENTS.get(timeout=PATIENCE))
    # The graph is always told of; of the rest not much more than may wait.
    assert [type(event) for event in events[:7]] == [RunStarted] + [NodeAdded] * 6
    assert 7 + 1 <= len(events) < 7 + 2 * len(nodes)
    assert events[-1].outcome == "succeeded"
    assert len(events) + events[-1].dropped == 7 + 2 * len(nodes) + 1


def test_an_endless_run_keeps_nothing_of_what_is_over(watcher):
    """What observers are told costs no memory for nodes that have landed."""

    class Value:
        pass

    seen = []
    same = thread(lambda value: value)

    def nodes():
        for _ in range(200):
            value = Value()
            seen.append(weakref.ref(value))
            yield same(value)

    most = 0
    for _, future in as_completed(nodes(), ahead=4):
        future.result()
        most = max(most, sum(ref() is not None for ref in seen))
    assert most < 100
    watcher.run()


def test_runs_are_observed_one_after_the_other(watcher):
    for _ in range(2):
        assert thread(one)()() == 1
    assert watcher.words() == watcher.words()
    assert watcher.nothing_more()
