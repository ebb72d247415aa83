"""`entangle plan`: says what would run where, and what is refused, without running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .built import HERE, NAMING, built, here, naming
from .exits import INVALID, OK
from .main import examples

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle plan`."""
    examples(
        parser,
        "plan pipeline.py",
        "plan pipeline.py:report --here    as if everything ran on this machine",
        "plan pipeline.py --json           for programs",
    )
    parser.epilog = f"{NAMING}\nExits with 3 when something is refused."
    naming(parser, "what to plan")
    parser.add_argument("--here", action="store_true", help=HERE)
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def execute(arguments: Namespace) -> int:
    """Print the plan and return the exit code."""
    if arguments.here:
        here()
    made = built(arguments.target, "planned")
    if isinstance(made, int):
        return made
    from entangle._run.plan import plan

    from .report import tell

    try:
        planned = plan(made)
    except Exception as error:  # noqa: BLE001 - whatever plugins and settings raise
        tell(f"{arguments.target} can't be planned", error)
        return INVALID
    if arguments.json:
        from .data import printed

        printed(planned.as_data())
    else:
        print(planned)
    return INVALID if planned.refused else OK
