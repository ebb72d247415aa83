"""`entangle new`: writes a small program to begin with."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .exits import INVALID, OK, InvalidError, UsageError
from .main import examples
from .terminal import hint, say

if TYPE_CHECKING:
    import argparse

PROGRAM: Final = """\
from entangle.process import process

@process
def square(n):
    return n * n

@process
def add(a, b):
    return a + b

result = add(square(1), square(2))  # a graph: nothing has run yet
if __name__ == "__main__": print(result())
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle new`."""
    examples(parser, "new hello && python hello.py")
    parser.epilog = "Writes one file, NAME.py, and nothing over a file that is there."
    parser.add_argument("name", metavar="NAME", help="a Python name")


def execute(arguments: argparse.Namespace) -> int:
    """Write the file and return the exit code."""
    path = Path(f"{arguments.name.removesuffix('.py')}.py")
    _check(path.stem)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(PROGRAM)
    except FileExistsError:
        raise UsageError(f"{path} is there already: choose another name") from None
    except OSError as error:
        say(f"entangle: {path} can't be written: {error.strerror}")
        return INVALID
    hint(f"wrote {path}: `python {path}` runs it, `entangle graph {path}` draws it")
    return OK


def _check(name: str) -> None:
    """Refuse a name that workers could not import, or that hides another module."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is no name of a Python module: use letters, digits and _"
        )
    if name in sys.stdlib_module_names or name == "entangle":
        raise InvalidError(f"{name}.py would hide the module {name!r}: choose another")
