"""`entangle sweep`: removes what runs whose process is gone have left elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle._seam.extensions import Leftover

from .exits import NODE_FAILED, OK
from .main import examples
from .terminal import say

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle sweep`."""
    examples(parser, "sweep", "sweep --remove --older-than 3600")
    parser.epilog = (
        "Asks every plugin what is left in its infrastructure. Without --remove it "
        "only lists."
    )
    parser.add_argument(
        "--remove", action="store_true", help="remove what was found, too"
    )
    parser.add_argument(
        "--older-than",
        type=float,
        default=0.0,
        metavar="S",
        help="only what is older than S seconds",
    )


def execute(arguments: argparse.Namespace) -> int:
    """List or remove leftovers and return the exit code."""
    from entangle._seam.plugins import plugins

    count = failed = 0
    older_than = arguments.older_than
    for plugin, leftover in plugins.each(
        "entangle_sweep", Leftover, older_than=older_than
    ):
        count += 1
        done = "found"
        if arguments.remove:
            try:
                leftover.remove()
            except Exception as error:  # noqa: BLE001 - somebody else's code
                failed += 1
                text = f"{plugin.label()} can't remove {leftover.name}: {error}"
                say(f"entangle: {text}")
                continue
            done = "removed"
        try:
            age = f"{leftover.age:.0f} s old"
        except (TypeError, ValueError):
            age = "of unknown age"  # a plugin may have put anything there
        print(f"{done} {leftover.kind} {leftover.name} ({age}, {plugin.name})")
    for plugin in plugins.all():
        for problem in plugin.problems:
            say(f"entangle: {plugin.label()}: {problem}")
            failed += 1
    print(f"{count} leftovers, {failed} problems")
    return NODE_FAILED if failed else OK
