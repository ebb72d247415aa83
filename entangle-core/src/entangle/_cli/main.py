"""The command `entangle`: finds the subcommand and turns what happens into an exit code.

Only the called command's module is imported, so that help answers at once. A command
module has two functions: `configure(parser)` declares its arguments, `execute(arguments)`
does the work and returns an exit code.
"""

from __future__ import annotations

import argparse
import errno
import re
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from .exits import (
    INTERRUPTED,
    INVALID,
    NODE_FAILED,
    OK,
    USAGE,
    InvalidError,
    UsageError,
)
from .terminal import flush, say, silence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entangle._seam.extensions import Command

COMMANDS = {
    "demo": "run a small graph and show what happens",
    "new": "write a small program to begin with",
    "run": "run a file's graph and print its value",
    "runs": "list the runs of which logs are kept",
    "show": "show a run: what ran when, what failed, what did not run",
    "logs": "print what the tasks of a run have printed",
    "graph": "draw a file's graph, without running it",
    "plan": "say what would run where, and what is refused, without running",
    "cache": "list the values that are kept on disk, or make room",
    "plugins": "list the plugins, what each adds, and what is wrong",
    "doctor": "check whether this machine is ready, and say what to do",
    "bench": "measure this machine, against what else is installed",
    "sweep": "remove what runs that are gone have left elsewhere",
    "new-plugin": "write a distribution that adds a place for tasks to run",
}

EXAMPLES = """\
examples:
  entangle demo
  entangle new hello                writes hello.py, ready to run
  entangle run pipeline.py          the file's graph: its only node, `result` or `main`
  entangle run pipeline.py:report year=2024
  entangle graph pipeline.py -f svg > pipeline.svg
  entangle doctor
"""
ABOUT = "Plain functions, decorated, run in parallel as a graph of calls."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CODES = """\
exit codes: 0 ok, 1 a node failed, 2 usage, 3 invalid graph or configuration,
130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the option that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print a usage error and exit with the code for it."""
        say(self.format_usage(), end="")
        say(f"{self.prog}: {message}{self._meant(message)}")
        self.exit(USAGE)

    def _meant(self, message: str) -> str:
        unknown = re.search(r"unrecognized arguments: (-[^\s=]+)", message)
        if unknown is not None:
            options = [name for name in self._option_string_actions if len(name) > 2]  # noqa: PLR2004 - not those of one letter
            return suggest(unknown[1], options, others=False)
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong is None:  # or a newer Python has said it
            return ""
        return suggest(wrong[1], re.findall(r"[\w.-]+", wrong[2]), others=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line and return its exit code.

    Args:
        argv: the arguments after the program's name; `sys.argv` by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        flush()
    except UsageError as error:
        say(f"entangle: {error}")
        return USAGE
    except InvalidError as error:
        say(f"entangle: {error}")
        return INVALID
    except KeyboardInterrupt:
        say("entangle: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `entangle run f.py | head -1`.
        silence()
        return OK
    except OSError as error:
        if error.errno not in _FULL:
            raise
        if error.filename is None:
            silence()
        say(
            f"entangle: {error.filename or 'stdout'} can't be written: {error.strerror}"
        )
        return NODE_FAILED
    return code


def _dispatch(arguments: list[str]) -> int:
    parser = Parser(
        prog="entangle",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=f"{ABOUT}\n\n{EXAMPLES}\n{_listing()}",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="store_true", help="print the versions that matter"
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="see above")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.version:
        from .versions import version_line

        print(version_line())
        return OK
    if parsed.command is None:
        say(parser.format_help(), end="")
        return USAGE
    found = _command(parsed.command)
    command = Parser(
        prog=f"entangle {parsed.command}",
        description=found.summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.configure(command)
    # With what reports tell how to do it again.
    given = argparse.Namespace(given=tuple(arguments))
    return found.execute(command.parse_args(parsed.arguments, given))


def _command(name: str) -> Command:
    """Find a command: of core, else of a plugin, which is only then loaded."""
    from entangle._seam.extensions import Command

    if name in COMMANDS:
        return own(name)
    from entangle._seam.plugins import plugins

    known = list(COMMANDS)
    if plugins.may_exist():
        for plugin, command in plugins.each("entangle_commands", Command):
            if command.name == name:
                return command._replace(
                    execute=partial(_guarded, plugin.label(), command)
                )
            if command.name not in known:
                known.append(command.name)
    raise UsageError(f"no command {name!r}{suggest(name, known)}")


def _listing() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    more = "`entangle plugins` lists the commands that plugins add\n"
    head = "commands (`entangle COMMAND --help` for each):\n"
    return head + "\n".join(lines) + "\n" + more


def own(name: str) -> Command:
    """Return a command of core, whose module is imported when it is used."""
    from entangle._seam.extensions import Command

    module = f"entangle._cli.{name.replace('-', '_')}"

    def configure(parser: argparse.ArgumentParser) -> None:
        import_module(module).configure(parser)

    def execute(arguments: argparse.Namespace) -> int:
        code: int = import_module(module).execute(arguments)
        return code

    return Command(name, COMMANDS[name], configure, execute)


def _guarded(owner: str, command: Command, arguments: argparse.Namespace) -> int:
    """Carry out a plugin's command; what it raises is told with whose it is."""
    try:
        return command.execute(arguments)
    except (UsageError, InvalidError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code
        from traceback import format_exception

        say("".join(format_exception(error)), end="")
        say(f"entangle: {command.name} of {owner} has failed")
        return NODE_FAILED


def examples(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Have a command's help begin with examples."""
    listed = "\n".join(f"  entangle {line}" for line in lines)
    parser.description = f"{parser.description}\n\nexamples:\n{listed}"


def suggest(name: str, known: Sequence[str], *, others: bool = True) -> str:
    """Return " (did you mean …?)" for a misspelt name.

    Args:
        name: What was given.
        known: What there is.
        others: Whether to list what there is where nothing is like it.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there are: {', '.join(known)})" if known and others else ""
