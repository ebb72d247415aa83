"""`entangle new` writes one small program, over nothing that is there."""

import subprocess
import sys

import pytest

from entangle._cli import main as cli
from entangle._cli.exits import INVALID, OK, USAGE
from entangle._cli.new import PROGRAM


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["hello", "hello.py"])
def test_one_file(folder, name, capsys):
    assert cli.main(["new", name]) == OK
    assert [path.name for path in folder.iterdir()] == ["hello.py"]
    assert (folder / "hello.py").read_text() == PROGRAM
    assert capsys.readouterr() == ("", "")


def test_people_are_told_how_to_go_on(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.delenv("CI", raising=False)
    assert cli.main(["new", "hello"]) == OK
    monkeypatch.setenv("CI", "true")
    assert cli.main(["new", "again"]) == OK
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "`python hello.py` runs it" in err


def test_it_is_short():
    assert len(PROGRAM.splitlines()) <= 12


@pytest.mark.process
def test_it_runs(folder):
    """By itself, and by `entangle run`: stdout is exactly the value."""
    cli.main(["new", "hello"])
    for command in (["hello.py"], ["-m", "entangle", "run", "hello.py"]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


@pytest.mark.process
def test_it_is_drawn(folder):
    cli.main(["new", "hello"])
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "graph", "hello.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[0].startswith("add")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("1st", USAGE, "is no name of a Python module"),
        ("class", USAGE, "is no name of a Python module"),
        ("a-b", USAGE, "is no name of a Python module"),
        ("json", INVALID, "would hide the module 'json'"),
        ("entangle", INVALID, "would hide the module"),
    ],
)
def test_bad_names(folder, name, code, words, capsys):
    assert cli.main(["new", name]) == code
    assert words in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_nothing_is_overwritten(folder, capsys):
    (folder / "hello.py").write_text("mine")
    assert cli.main(["new", "hello"]) == USAGE
    assert "is there already" in capsys.readouterr().err
    assert (folder / "hello.py").read_text() == "mine"


def test_a_folder_that_is_not_there(folder, capsys):
    assert cli.main(["new", "nowhere/hello"]) == INVALID
    assert "can't be written: No such file or directory" in capsys.readouterr().err
