"""The command line finds its commands, and says by its exit code what happened."""

import os
import subprocess
import sys

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
