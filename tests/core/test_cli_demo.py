"""`entangle demo` shows its program, runs it and prints its value."""

import re

import pytest
from terminal_kit import Terminal

from entangle._cli import main as cli
from entangle._cli.exits import INVALID, OK

pytestmark = pytest.mark.process


def test_demo(capfd):
    """The value alone on stdout; program, calls and times on stderr."""
    assert cli.main(["demo"]) == OK
    out, err = capfd.readouterr()
    assert out == "5\n"
    assert "result = add(mult(one(), two()), three())" in err
    assert len(re.findall(r"in process \d+", err)) == 5


def test_demo_on_a_terminal():
    """The calls are seen as a tree while they run; stdout is the value alone."""
    seen = Terminal(100, 60).run("-m", "entangle", "demo", pipe=True)
    assert (seen.code, seen.out) == (OK, "5\n")
    running = [line for frame in seen.frames for line in frame if "● " in line]
    assert any("─ ● " in line for line in running), seen.frames[-1]
    left = seen.lines()
    assert any(line.startswith("✓ 5 nodes in ") for line in left), left
    assert not [line for line in left if "● " in line]
    assert any("entangle new hello" in line for line in left)


def test_demo_without_progress(monkeypatch, capfd):
    """What ENTANGLE_PROGRESS says holds here, too; what makes no sense is told."""
    seen = Terminal(100, 60).run(
        "-m", "entangle", "demo", pipe=True, env={"ENTANGLE_PROGRESS": "off"}
    )
    assert (seen.code, seen.out) == (OK, "5\n")
    assert b"5 nodes in" not in seen.raw
    monkeypatch.setenv("ENTANGLE_PROGRESS", "lvie")
    assert cli.main(["demo"]) == INVALID
    assert "did you mean 'live'?" in capfd.readouterr().err
