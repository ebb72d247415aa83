"""`entangle plan`: says what would run where, and what is refused, without running."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .exits import INVALID, OK, InvalidError, UsageError
from .load import find, load, split
from .report import describe

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from entangle._run.plan import Plan

EPILOG = """\
NAME is a module-level node, or a task, workflow or function that makes one without
arguments. Without NAME: the file's only node, else `result`, else `main`.

Exits with 3 when something is refused.
"""


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle plan`."""
    parser.epilog = EPILOG
    parser.add_argument("target", metavar="FILE[:NAME]", help="what to plan")
    parser.add_argument("--here", action="store_true", help=HERE)


HERE = "as if every target were this machine (ENTANGLE_TARGETS='*=local')"


def here() -> None:
    """Replace every target by this machine."""
    os.environ["ENTANGLE_TARGETS"] = "*=local"


def execute(arguments: Namespace) -> int:
    """Print the plan and return the exit code."""
    if arguments.here:
        here()
    path, name = split(arguments.target)
    try:
        module = load(path, [str(path)])
        made = find(module, name, path)
        planned = _planned(made, arguments.target)
    except (UsageError, KeyboardInterrupt, SystemExit):
        raise
    except InvalidError as error:
        print(f"entangle: {error}", file=sys.stderr)
        return INVALID
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raises
        print(
            f"entangle: {arguments.target} can't be planned\n{describe(error)}",
            file=sys.stderr,
        )
        return INVALID
    print(planned)
    return INVALID if planned.refused else OK


def _planned(made: object, label: str) -> Plan:
    from entangle._graph.node import Node

    if not isinstance(made, Node) and callable(made):
        made = made()
    if not isinstance(made, Node):
        raise UsageError(f"{label} is no node, and makes none")
    return made.plan()
