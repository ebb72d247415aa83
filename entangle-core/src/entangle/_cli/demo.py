"""`entangle demo`: runs a small graph and shows what happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .exits import OK, InvalidError
from .main import examples
from .terminal import hint, say

if TYPE_CHECKING:
    import argparse

    from entangle._graph.node import Node


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle demo`."""
    examples(parser, "demo")
    parser.epilog = "The explanation goes to stderr, the graph's value to stdout."


def execute(arguments: argparse.Namespace) -> int:
    """Run the demo graph, explain it, print its value."""
    del arguments
    from inspect import getsource

    from . import demo_graph

    source = getsource(demo_graph).partition("# The program\n")[2].strip()
    source = source.replace("\n\n\n", "\n\n")
    say("Five plain functions, decorated. Calling one runs nothing: it makes a node.\n")
    say("\n".join(f"    {line}".rstrip() for line in source.splitlines()))
    say("\nresult() runs the graph. What doesn't depend on each other runs at once;")
    say("each call prints from the process that it runs in:\n")
    started = time.monotonic()
    value = _shown(demo_graph.result)
    elapsed = time.monotonic() - started
    body = 5 * demo_graph.SECONDS
    say(
        f"\n5 calls of {demo_graph.SECONDS:g} s = {body:g} s of work in {elapsed:.2f} s"
    )
    say("(its longest path takes 3 calls). No server, no guard, nothing left behind.\n")
    hint("Next: `entangle new hello && python hello.py`, a program of yours.\n")
    print(value, flush=True)
    return OK


def _shown(node: Node[int]) -> int:
    """Run a node with its progress on the terminal, if there is one."""
    from entangle._see.progress import progress
    from entangle.errors import OptionError

    try:
        with progress():
            return node()
    except OptionError as error:  # of ENTANGLE_PROGRESS
        raise InvalidError(str(error)) from error
