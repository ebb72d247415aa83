"""`entangle demo` shows its program, runs it and prints its value."""

import re

import pytest

from entangle._cli import main as cli
from entangle._cli.exits import OK

pytestmark = pytest.mark.process


def test_demo(capfd):
    """The value alone on stdout; program, calls and times on stderr."""
    assert cli.main(["demo"]) == OK
    out, err = capfd.readouterr()
    assert out == "5\n"
    assert "result = add(mult(one(), two()), three())" in err
    assert len(re.findall(r"in process \d+", err)) == 5
