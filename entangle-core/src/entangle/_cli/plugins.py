"""`entangle plugins`: lists what is installed, what it adds, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle._clean import clean
from entangle._seam.discovery import disabled
from entangle._seam.extensions import Command

from .exits import INVALID, OK
from .main import examples
from .terminal import counted, troubles_are_listed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from entangle._seam.plugins import Plugin, Plugins


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle plugins`."""
    examples(parser, "plugins", "plugins --json")
    parser.epilog = (
        "Loads every plugin. Exits with 3 when something is wrong with one.\n"
        "ENTANGLE_DISABLE_PLUGINS=name,… switches some off, =1 all."
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Print a paragraph for each plugin and return the exit code."""
    from entangle._seam.plugins import plugins

    troubles_are_listed()
    listed = plugins.all()
    adds = added(plugins)
    broken = sum(bool(plugin.problems) for plugin in listed)
    if arguments.json:
        from .data import printed

        printed([data(plugin, adds.get(plugin.name, [])) for plugin in listed])
        return INVALID if broken else OK
    for plugin in listed:
        print("\n".join(map(clean, lines(plugin, adds.get(plugin.name, [])))))
    if disabled() is None:
        print("all others are switched off by ENTANGLE_DISABLE_PLUGINS")
    for name in plugins.off:
        print(f"{name}: switched off by ENTANGLE_DISABLE_PLUGINS")
    print(f"{counted(len(listed), 'plugin')}, {broken} with problems")
    return INVALID if broken else OK


def added(plugins: Plugins) -> dict[str, list[str]]:
    """Return what each plugin adds, in words, by its name."""
    adds: dict[str, list[str]] = {}
    for name, offers in sorted(plugins.executors().items()):
        for plugin, _ in offers:
            adds.setdefault(plugin.name, []).append(f"executor {name}")
    owners: dict[str, Plugin] = {}
    for plugin, command in plugins.each("entangle_commands", Command):
        name = command.name
        if owners.setdefault(name, plugin) is not plugin:
            plugin.trouble(
                f"the command name {name!r} is taken by {owners[name].label()}"
            )
        else:
            adds.setdefault(plugin.name, []).append(f"command {name}")
    words = {
        "entangle_observe": "observes runs",
        "entangle_bench": "benchmarks",
        "entangle_doctor": "doctor checks",
        "entangle_estimate": "estimates",
        "entangle_sweep": "sweeps",
    }
    for plugin in plugins.all():
        for hook in plugin.hooks:
            if hook in words:
                adds.setdefault(plugin.name, []).append(words[hook])
    return adds


def data(plugin: Plugin, adds: list[str]) -> dict[str, object]:
    """Return what there is to say of a plugin, for programs."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "seconds": plugin.seconds,
        "adds": adds,
        "problems": list(plugin.problems),
    }


def lines(plugin: Plugin, adds: list[str]) -> Iterator[str]:
    """Yield the lines about one plugin."""
    took = f"{plugin.seconds * 1e3:.0f} ms to import"
    version = f" {plugin.version}" if plugin.version else ""
    yield f"{plugin.name} ({plugin.distribution}{version}, {plugin.module}, {took})"
    if adds:
        yield f"  adds: {', '.join(adds)}"
    for problem in plugin.problems:
        yield f"  wrong: {problem}"
