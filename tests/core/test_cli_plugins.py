"""What plugins have to do with the command line: `plugins`, `sweep`, their commands."""

import os
import subprocess
import sys

import pytest
from site_kit import new_site

from entangle._cli import checks
from entangle._cli import main as cli
from entangle._cli.exits import INTERRUPTED, INVALID, NODE_FAILED, OK, USAGE

FULL = """
@hookimpl
def entangle_executors():
    return {"full_place": print, "another_place": print}
@hookimpl
def entangle_observe(run): ...
@hookimpl
def entangle_commands():
    return [Command("greet", "says hello", configure, execute)]
@hookimpl
def entangle_doctor():
    return [Finding("ok", "engine", "is running"), Finding("warn", "key", "old", "renew")]
@hookimpl
def entangle_estimate(task):
    return []
def configure(parser):
    parser.add_argument("name")
    parser.add_argument("--code", type=int, default=0)
def execute(arguments):
    print("hello,", arguments.name)
    if arguments.name == "nobody":
        raise KeyboardInterrupt
    return arguments.code
"""
SWEEPER = """
REMOVED, ASKED = [], []
def fail():
    raise OSError("is busy")
@hookimpl
def entangle_sweep(older_than):
    ASKED.append(older_than)
    return [
        Leftover("container", "c1", 3.4, lambda: REMOVED.append("c1")),
        Leftover("queue", "q1", 7200, lambda: REMOVED.append("q1")),
    ]
"""
BAD = "raise ImportError('no engine')\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Plugins of the test, none loaded yet, and no others."""
    for made in new_site(tmp_path, monkeypatch, version="1.5"):
        made.use(monkeypatch)
        yield made


def paragraph(out, name):
    """Return the lines about a plugin."""
    lines = iter(out.splitlines())
    found = [line for line in lines if line.startswith(f"{name} (")]
    start = out.splitlines().index(found[0])
    rest = out.splitlines()[start + 1 :]
    for line in rest:
        if not line.startswith("  "):
            break
        found.append(line)
    return found


# -- entangle plugins --------------------------------------------------------------


def test_what_each_plugin_adds(site, capsys):
    site.add("full", FULL)
    site.add("sweeper", SWEEPER)
    assert cli.main(["plugins"]) == OK
    out, err = capsys.readouterr()
    head, adds = paragraph(out, "full")
    assert head.startswith("full (full-dist 1.5, full_plugin, ")
    assert head.endswith(" ms to import)")
    assert adds == (
        "  adds: executor another_place, executor full_place, command greet, "
        "doctor checks, estimates, observes runs"
    )
    assert paragraph(out, "sweeper")[1:] == ["  adds: sweeps"]
    (core,) = paragraph(out, "core")[1:]
    assert core == (
        "  adds: executor inline, executor process, executor thread, "
        + "".join(f"command {name}, " for name in cli.COMMANDS)
        + "doctor checks"
    )
    assert out.splitlines()[-1].endswith(" plugins, 0 with problems")
    assert err == ""


def test_what_is_wrong_with_each(site, capsys, caplog):
    site.add("bad", BAD)
    site.add("xclash", FULL.replace("another_place", "process"))
    site.add("full", FULL.replace("    return [Command(", "    return [3, Command("))
    assert cli.main(["plugins"]) == INVALID
    out = capsys.readouterr().out
    assert paragraph(out, "bad")[1:] == [
        "  wrong: bad_plugin can't be imported: ImportError: no engine"
    ]
    assert "the executor name 'process' is taken by core" in "\n".join(
        paragraph(out, "xclash")
    )
    both = "the executor name 'full_place' is given by two plugins, also by plugin"
    assert both in "\n".join(paragraph(out, "xclash"))
    wrong = "\n".join(paragraph(out, "full"))
    assert both in wrong
    assert "entangle_commands() gave 3, no Command" in wrong
    assert "command greet" in wrong
    assert out.splitlines()[-1] == f"{len(site.plugins.all())} plugins, 3 with problems"


@pytest.mark.parametrize("value", ["bad", "1", "bad,more"])
def test_what_is_switched_off(site, monkeypatch, capsys, value):
    site.add("bad", BAD)
    monkeypatch.setenv("ENTANGLE_DISABLE_PLUGINS", value)
    assert cli.main(["plugins"]) == OK
    out = capsys.readouterr().out
    assert "bad_plugin" not in out
    if value == "1":
        assert out.splitlines()[-1] == "1 plugin, 0 with problems"
    else:
        assert "bad: switched off by ENTANGLE_DISABLE_PLUGINS" in out


def test_the_environment_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["plugins", "--help"])
    assert "ENTANGLE_DISABLE_PLUGINS" in capsys.readouterr().out


# -- entangle sweep ------------------------------------------------------------------


def test_nothing_is_left(site, capsys):
    site.add("full", FULL)
    assert cli.main(["sweep"]) == OK
    assert capsys.readouterr() == ("0 leftovers, 0 problems\n", "")


def test_leftovers_are_listed_and_kept(site, capsys):
    site.add("sweeper", SWEEPER)
    assert cli.main(["sweep", "--dry-run"]) == OK
    out, err = capsys.readouterr()
    assert out == (
        "found container c1 (3 s old, sweeper)\n"
        "found queue q1 (7200 s old, sweeper)\n"
        "2 leftovers, 0 problems\n"
    )
    assert err == ""
    assert site.module("sweeper").REMOVED == []
    assert site.module("sweeper").ASKED == [0.0]


def test_leftovers_are_removed(site, capsys):
    site.add("sweeper", SWEEPER)
    assert cli.main(["sweep", "--older-than", "60"]) == OK
    assert capsys.readouterr().out == (
        "removed container c1 (3 s old, sweeper)\n"
        "removed queue q1 (7200 s old, sweeper)\n"
        "2 leftovers, 0 problems\n"
    )
    assert site.module("sweeper").REMOVED == ["c1", "q1"]
    assert site.module("sweeper").ASKED == [60.0]


def test_a_leftover_that_cannot_be_removed(site, capsys):
    site.add("sweeper", SWEEPER.replace('lambda: REMOVED.append("c1")', "fail"))
    assert cli.main(["sweep"]) == NODE_FAILED
    out, err = capsys.readouterr()
    assert (
        "entangle: plugin 'sweeper' of sweeper-dist 1.5 can't remove c1: is busy" in err
    )
    assert out == "removed queue q1 (7200 s old, sweeper)\n2 leftovers, 1 problem\n"


def test_plugins_that_cannot_sweep_do_not_keep_others_from_it(site, capsys):
    site.add("bad", BAD)
    site.add("fails", "@hookimpl\ndef entangle_sweep(older_than): return 1 / 0")
    site.add("sweeper", SWEEPER.replace("return [", "return [None, "))
    assert cli.main(["sweep"]) == NODE_FAILED
    out, err = capsys.readouterr()
    assert "removed queue q1" in out
    assert out.endswith("2 leftovers, 3 problems\n")
    assert "entangle: plugin 'bad' of bad-dist 1.5: bad_plugin can't be imported" in err
    assert "entangle_sweep() failed: ZeroDivisionError" in err
    assert "entangle_sweep() gave None, no Leftover" in err
    assert site.module("sweeper").REMOVED == ["c1", "q1"]


@pytest.mark.parametrize("age", ["None", "'old'"])
def test_a_leftover_of_no_age_does_not_keep_others_from_being_removed(
    site, capsys, age
):
    site.add("sweeper", SWEEPER.replace("3.4", age))
    cli.main(["sweep"])
    capsys.readouterr()
    assert "q1" in site.module("sweeper").REMOVED


def test_only_the_plugins_that_are_named_sweep(site, capsys):
    site.add("sweeper", SWEEPER)
    site.add("other", SWEEPER)
    site.add("bad", BAD)
    assert cli.main(["sweep", "other"]) == OK
    assert "2 leftovers, 0 problems\n" in capsys.readouterr().out
    assert site.module("other").REMOVED == ["c1", "q1"]
    assert site.module("sweeper").ASKED == []


def test_a_plugin_that_cannot_be_loaded_is_named_and_fails(site, capsys):
    site.add("bad", BAD)
    assert cli.main(["sweep", "bad"]) == NODE_FAILED
    assert "bad_plugin can't be imported" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sweper", "full"])
def test_a_name_that_cannot_sweep(site, capsys, name):
    site.add("sweeper", SWEEPER)
    site.add("full", FULL)
    assert cli.main(["sweep", name]) == USAGE
    assert f"no plugin {name!r} that can sweep" in capsys.readouterr().err
    assert site.module("sweeper").ASKED == []


def test_an_age_that_is_none(site, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["sweep", "--older-than", "long"])
    assert caught.value.code == USAGE


# -- commands of plugins ---------------------------------------------------------------


def test_a_command_of_a_plugin(site, capsys):
    site.add("full", FULL)
    assert cli.main(["greet", "you"]) == OK
    assert capsys.readouterr() == ("hello, you\n", "")
    assert cli.main(["greet", "you", "--code", "7"]) == 7
    assert cli.main(["greet", "nobody"]) == INTERRUPTED


def test_the_help_of_a_command_of_a_plugin(site, capsys):
    site.add("full", FULL)
    with pytest.raises(SystemExit) as caught:
        cli.main(["greet", "--help"])
    assert caught.value.code == OK
    out = capsys.readouterr().out
    assert "usage: entangle greet" in out
    assert "says hello" in out
    with pytest.raises(SystemExit) as caught:
        cli.main(["greet"])
    assert caught.value.code == USAGE


@pytest.mark.parametrize(
    ("word", "hint"),
    [("gret", "did you mean 'greet'?"), ("xyzzy", ", greet)")],
)
def test_commands_of_plugins_are_suggested(site, capsys, word, hint):
    site.add("full", FULL)
    assert cli.main([word]) == USAGE
    assert hint in capsys.readouterr().err


def test_commands_of_core_load_no_plugin(site, capsys):
    site.add("full", FULL)
    assert cli.main(["--version"]) == OK
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "`entangle plugins` lists the commands that plugins add" in (
        capsys.readouterr().out
    )
    assert "full_plugin" not in sys.modules


def test_names_of_commands_that_are_taken(site, capsys):
    """Core's name is core's; of two plugins the first by name has it."""
    site.add("aaa", FULL.replace('"greet"', '"plugins"').replace("hello", "aaa"))
    site.add("one", FULL.replace("hello", "one"))
    site.add("two", FULL.replace("hello", "two"))
    cli.main(["plugins"])
    assert "with problems" in capsys.readouterr().out
    assert cli.main(["greet", "you"]) == OK
    assert capsys.readouterr().out == "one, you\n"


def test_a_plugin_that_fails_does_not_keep_others_commands_away(site, capsys):
    site.add("bad", BAD)
    site.add("fails", "@hookimpl\ndef entangle_commands(): return 1 / 0")
    site.add("full", FULL)
    assert cli.main(["greet", "you"]) == OK
    assert capsys.readouterr().out == "hello, you\n"


@pytest.mark.process
@pytest.mark.parametrize("off", ["", "1"])
def test_a_command_of_a_plugin_from_a_shell(site, off):
    site.add("full", FULL)
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "greet", "you", "--code", "5"],
        env={
            **os.environ,
            "PYTHONPATH": str(site.folder),
            "ENTANGLE_DISABLE_PLUGINS": off,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if off:
        assert (done.returncode, done.stdout) == (USAGE, "")
        assert "no command 'greet'" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (5, "hello, you\n", "")


# -- entangle doctor ---------------------------------------------------------------------


@pytest.fixture
def doctor_out(site, monkeypatch, capsys):
    """Have the doctor look at plugins alone; return its exit code and output."""
    monkeypatch.setattr(checks, "CHECKS", ())

    def run():
        code = cli.main(["doctor"])
        return code, capsys.readouterr().out

    return run


def test_the_doctor_lists_plugins_and_passes_on_their_findings(site, doctor_out):
    site.add("full", FULL)
    code, out = doctor_out()
    assert code == OK
    assert "ok    plugin full    full-dist 1.5\n" in out
    assert "ok    engine         is running\n" in out
    assert "warn  key            old\n                     renew\n" in out


def test_the_doctor_says_what_to_do_about_a_plugin(site, doctor_out):
    site.add("bad", BAD)
    site.add("full", FULL)
    code, out = doctor_out()
    assert code == OK
    assert (
        "warn  plugin bad     bad_plugin can't be imported: ImportError: no engine\n"
        "                     upgrade or remove bad-dist, or set "
        "ENTANGLE_DISABLE_PLUGINS=bad\n"
    ) in out
    assert "ok    plugin full" in out


def test_what_a_plugin_finds_to_fail_is_an_exit_code(site, doctor_out):
    site.add("full", FULL.replace('"ok", "engine"', '"fail", "engine"'))
    code, out = doctor_out()
    assert code == INVALID
    assert "fail  engine         is running\n" in out


def test_findings_that_are_none_are_told(site, doctor_out):
    source = "@hookimpl\ndef entangle_doctor(): return [('ok', 'x', 'y', ''), %s]"
    site.add("bad", source % "3")
    site.add("full", FULL)
    code, out = doctor_out()
    assert "ok    engine         is running\n" in out
    assert "entangle_doctor() gave" in "\n".join(
        problem for plugin in site.plugins.all() for problem in plugin.problems
    )


def test_a_doctor_hook_that_fails_is_in_the_report(site, doctor_out):
    site.add("bad", "@hookimpl\ndef entangle_doctor(): return 1 / 0")
    site.add("full", FULL)
    _, out = doctor_out()
    assert "ok    engine         is running\n" in out
    assert "entangle_doctor() failed: ZeroDivisionError" in out


def test_a_finding_of_no_verdict_does_not_end_the_report(site, doctor_out):
    site.add(
        "bad", "@hookimpl\ndef entangle_doctor():\n    return [Finding(*[None] * 4)]"
    )
    site.add("full", FULL)
    _, out = doctor_out()
    assert "ok    engine         is running\n" in out


def test_names_of_variables_are_known(monkeypatch):
    from entangle._cli.checks import environment

    for name in list(os.environ):
        if name.startswith("ENTANGLE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ENTANGLE_TARGETS", "*=local")
    monkeypatch.setenv("ENTANGLE_DISABLE_PLUGINS", "1")
    assert [finding.verdict for finding in environment()] == ["ok", "ok"]
