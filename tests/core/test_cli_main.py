"""The command line finds its commands, and says by its exit code what happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from entangle._cli import main as cli
from entangle._cli.exits import INTERRUPTED, OK, USAGE
from entangle._cli.versions import version_of


def test_help_names_every_command(capsys):
    """Help goes to stdout and lists all commands."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == OK
    out, err = capsys.readouterr()
    assert all(f"\n  {name}" in out for name in cli.COMMANDS)
    assert err == ""


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command(command, capsys):
    """Every command explains itself."""
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == OK
    assert f"entangle {command}" in capsys.readouterr().out


def test_nothing_said(capsys):
    """Without a command: help on stderr, and the code for usage."""
    assert cli.main([]) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "commands" in err


@pytest.mark.parametrize(
    ("word", "hint"),
    [("rnu", "did you mean 'run'?"), ("xyzzy", "there are: demo, ")],
)
def test_unknown_command(word, hint, capsys):
    """A misspelt command is answered with the one that was meant."""
    assert cli.main([word]) == USAGE
    assert hint in capsys.readouterr().err


def test_unknown_option(capsys):
    """An unknown option is a usage error, with the usage."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", "--what"])
    assert caught.value.code == USAGE
    assert "usage: entangle doctor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["doctor", "--jsno"], "did you mean '--json'?"),
        (["cache", "prun"], "did you mean 'prune'?"),
        (["cache", "--unusd-for=3"], "did you mean '--unused-for'?"),
        (["--verson"], "did you mean '--version'?"),
    ],
)
def test_what_was_probably_meant(arguments, hint, capsys):
    """Misspelt options and words are answered with the ones that were meant."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == USAGE
    assert hint in capsys.readouterr().err


def test_options_are_not_guessed(capsys):
    """An option's beginning is no option: scripts would break with the next one."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", "--js"])
    assert caught.value.code == USAGE


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_begins_with_examples(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert f"examples:\n  entangle {command}" in out
    assert out.index("examples:") < out.index("options:")


@pytest.mark.process
def test_help_imports_little():
    """It answers as fast as Python starts: what takes long is not imported."""
    program = (
        "import sys\n"
        "from entangle._cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(done.stderr.split())
    ours = {name for name in modules if name.startswith("entangle.")}
    assert ours <= {
        "entangle._cli",
        "entangle._cli.main",
        "entangle._cli.exits",
        "entangle._cli.terminal",
    }
    slow = {"asyncio", "inspect", "logging", "pluggy", "cloudpickle", "pickle", "json"}
    slow |= {"importlib.metadata", "pathlib", "dataclasses", "threading", "subprocess"}
    assert not modules & slow


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "code"), [("--help", OK), ("nothing", USAGE), ("doctor --what", USAGE)]
)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams(command, code, closed):
    """Whichever stream is closed: the same exit code; errors never on stdout."""
    line = f"exec {sys.executable} -m entangle {command} {closed}"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    if closed == "2>&-" and code:
        assert done.stdout == ""


@pytest.mark.process
def test_module_and_script_are_the_same():
    script = Path(sys.executable).with_name("entangle")
    if not script.exists():
        pytest.skip("entangle is not installed as a script")
    outputs = {
        subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True
        ).stdout
        for command in ([script], [sys.executable, "-m", "entangle"])
    }
    assert len(outputs) == 1


def test_version(capsys):
    """The version names the distribution's, and Python's."""
    assert cli.main(["--version"]) == OK
    out = capsys.readouterr().out
    assert out.startswith(f"entangle {version_of('entangle-core')}, Python 3.")


def test_version_without_metadata():
    """A program without package metadata has no version, and no error."""
    assert version_of("no-such-distribution-anywhere") is None


def test_suggest_nothing_known():
    """There is nothing to suggest where there is nothing."""
    assert cli.suggest("name", []) == ""


def test_interrupt(monkeypatch, capsys):
    """Ctrl-C ends with 130 and one line, no traceback."""

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("entangle._cli.doctor.execute", interrupted)
    assert cli.main(["doctor"]) == INTERRUPTED
    assert capsys.readouterr().err == "entangle: interrupted\n"


@pytest.mark.process
def test_reader_gone():
    """A closed stdout is no failure of ours: `entangle … | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "--version"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (OK, "")
