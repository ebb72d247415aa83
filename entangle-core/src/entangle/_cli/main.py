"""The command `entangle`: finds the subcommand and turns what happens into an exit code.

Only the called command's module is imported, so that help answers at once. A command
module has two functions: `configure(parser)` declares its arguments, `execute(arguments)`
does the work and returns an exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from .exits import INTERRUPTED, USAGE, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "demo": "run a small graph and show what happens",
    "run": "run a file's graph and print its value",
    "doctor": "check whether this machine is ready, and say what to do",
}

EXAMPLES = """\
examples:
  entangle demo
  entangle run pipeline.py          the file's graph: its only node, `result` or `main`
  entangle run pipeline.py:report year=2024
  entangle doctor

exit codes: 0 ok, 1 a node failed, 2 usage, 3 invalid graph or configuration,
130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the command that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print a usage error and exit with the code for it."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line and return its exit code.

    Args:
        argv: the arguments after the program's name; `sys.argv` by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except UsageError as error:
        print(f"entangle: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("entangle: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `entangle run f.py | head -1`.
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _dispatch(arguments: list[str]) -> int:
    parser = Parser(
        prog="entangle",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description="Plain functions, decorated, run in parallel as a graph of calls.",
        epilog=_listing() + "\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="store_true", help="print the versions that matter"
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.version:
        from .versions import version_line

        print(version_line())
        return 0
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    if parsed.command not in COMMANDS:
        raise UsageError(f"no command {parsed.command!r}{suggest(parsed.command)}")
    module = import_module(f"entangle._cli.{parsed.command}")
    command = Parser(
        prog=f"entangle {parsed.command}",
        description=COMMANDS[parsed.command],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(command)
    code: int = module.execute(command.parse_args(parsed.arguments))
    return code


def _listing() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    return "commands (`entangle COMMAND --help` for each):\n" + "\n".join(lines) + "\n"


def suggest(name: str, known: Sequence[str] = tuple(COMMANDS)) -> str:
    """Return " (did you mean …?)" for a misspelt name, or what there is."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there are: {', '.join(known)})" if known else ""
