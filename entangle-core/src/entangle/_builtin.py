"""What core adds to itself, through the same hooks as any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from entangle.hooks import Command, Finding

ENTANGLE_SPI = 1


@hookimpl
def entangle_executors() -> Mapping[str, Callable[[], Any]]:
    """Name the places of core."""
    from entangle._run.executors import InlineExecutor, ProcessExecutor, ThreadExecutor

    return {
        "inline": InlineExecutor,
        "process": ProcessExecutor,
        "thread": ThreadExecutor,
    }


@hookimpl
def entangle_commands() -> Iterable[Command]:
    """Give the commands of core; the command line finds them without asking."""
    from entangle._cli.main import COMMANDS, own

    return [own(name) for name in COMMANDS]


@hookimpl
def entangle_doctor() -> Iterator[Finding]:
    """Check this machine."""
    from entangle._cli.checks import CHECKS

    for check in CHECKS:
        yield from check()
