"""The graph that a command line names, built and not run."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, TypeAlias

from .exits import INVALID, InvalidError, UsageError
from .load import find, load, split
from .report import tell

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from entangle._graph.flow import Flow
    from entangle._graph.node import Node

    Graph: TypeAlias = Node[object] | Flow

NAMING = """\
NAME is a module-level node or flow, or a task, workflow or function that makes one
without arguments. Without NAME: the file's only node, else `result`, else `main`, else
its only flow. What the file prints goes to stderr.
"""
HERE = "as if every target were this machine (ENTANGLE_TARGETS='*=local')"


def naming(parser: ArgumentParser, what: str) -> None:
    """Declare the argument that names a graph."""
    parser.add_argument("target", metavar="FILE[:NAME]", help=what)


def here() -> None:
    """Replace every target by this machine."""
    os.environ["ENTANGLE_TARGETS"] = "*=local"


def built(target: str, verb: str) -> Graph | int:
    """Build the graph that a command line names.

    Args:
        target: The file and perhaps the name.
        verb: What is to be done with it, for the error: ``planned``.

    Returns:
        The graph; or the exit code, when what is wrong was told.

    Raises:
        UsageError: there is none of that name.
    """
    path, name = split(target)
    try:
        # What is ours alone goes to stdout.
        with contextlib.redirect_stdout(sys.stderr):
            module = load(path, [str(path)])
            return _graph(find(module, name, path), target)
    except (UsageError, InvalidError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raises
        tell(f"{target} can't be {verb}", error)
        return INVALID


def _graph(made: object, label: str) -> Graph:
    from entangle._graph.flow import Flow
    from entangle._graph.node import Node

    if not isinstance(made, (Node, Flow)) and callable(made):
        made = made()
    if not isinstance(made, (Node, Flow)):
        raise UsageError(f"{label} is no node or flow, and makes none")
    return made
