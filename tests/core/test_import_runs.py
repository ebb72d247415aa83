"""Modules that run a graph when they are imported, which workers do too."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PROGRAM = """
from entangle.process import process

@process
def one():
    return 1

@process
def twice(x):
    return 2 * x

print(twice(one())())
"""


def test_a_module_that_runs_its_graph_on_import_is_an_error(tmp_path):
    """Not a chain of workers that import it for ever."""
    (tmp_path / "eager.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", "import eager"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "RunOutsideTaskError" in done.stderr
    assert "move that into a function" in done.stderr
    assert done.stdout == ""


def test_the_same_file_runs_as_a_script_and_by_the_command(tmp_path):
    """Its tasks travel by value: no worker imports it."""
    file = tmp_path / "eager.py"
    file.write_text(PROGRAM + "\nresult = twice(one())\n")
    script = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, timeout=30, check=True
    )
    assert script.stdout == "2\n"
    command = subprocess.run(
        [sys.executable, "-m", "entangle", "run", file],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert command.stdout == "2\n2\n"
