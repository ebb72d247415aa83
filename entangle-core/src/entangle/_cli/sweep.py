"""`entangle sweep`: removes what runs whose process is gone have left elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle._seam.extensions import Leftover

from .exits import NODE_FAILED, OK, UsageError
from .main import examples
from .terminal import counted, say, troubles_are_listed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from entangle._seam.plugins import Plugin


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle sweep`."""
    examples(parser, "sweep", "sweep --dry-run", "sweep docker --older-than 3600")
    parser.epilog = (
        "Asks plugins what is left in their infrastructure, of runs whose process is "
        "gone, and removes it."
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="plugins to ask, as `entangle plugins` lists them; by default all",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only list what would be removed"
    )
    parser.add_argument(
        "--older-than",
        type=float,
        default=0.0,
        metavar="S",
        help="only what is older than S seconds",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Remove leftovers, or list them, and return the exit code."""
    from entangle._seam.plugins import plugins

    troubles_are_listed()
    names = frozenset(arguments.names)
    _require_known(names, plugins.all())
    asked = [plugin for plugin in plugins.all() if not names or plugin.name in names]
    count = failed = 0
    for plugin, leftover in plugins.each(
        "entangle_sweep", Leftover, only=names, older_than=arguments.older_than
    ):
        count += 1
        done = "found"
        if not arguments.dry_run:
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
    for plugin in asked:
        for problem in plugin.problems:
            say(f"entangle: {plugin.label()}: {problem}")
            failed += 1
    print(f"{counted(count, 'leftover')}, {counted(failed, 'problem')}")
    return NODE_FAILED if failed else OK


def _require_known(names: Iterable[str], plugins: Iterable[Plugin]) -> None:
    """Refuse names that no plugin has, or whose plugin leaves nothing anywhere.

    Raises:
        UsageError: one is; the message says which there are.
    """
    # One that could not be loaded says so later.
    there = {
        plugin.name
        for plugin in plugins
        if "entangle_sweep" in plugin.hooks or plugin.problems
    }
    for name in sorted(names):
        if name not in there:
            known = ", ".join(sorted(there)) or "none"
            raise UsageError(
                f"there is no plugin {name!r} that can sweep; those that can: {known}"
            )
