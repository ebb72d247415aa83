"""`entangle runs`: lists the runs of which logs are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .data import printed
from .exits import OK
from .history import add_folder, known_runs, shown, when
from .main import examples
from .run import positive
from .terminal import put, say

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    Row = dict[str, Any]

EPILOG = """\
STATE is how a run has ended; `running` if it has not, and `died` if its program ended
before it. The last 100 runs are kept; a run is removed with its folder.
"""
_FEW = 20


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle runs`."""
    examples(parser, "runs", "runs -n 5", "runs --json")
    parser.epilog = EPILOG
    parser.add_argument(
        "-n", type=positive, default=_FEW, metavar="N", help=f"the last N ({_FEW})"
    )
    parser.add_argument("--json", action="store_true", help="as data, for programs")
    add_folder(parser)


def execute(arguments: Namespace) -> int:
    """List the runs, the last one first."""
    known = known_runs(arguments.folder)
    rows = [_row(arguments.folder, run) for run in known[::-1][: arguments.n]]
    if arguments.json:
        printed(rows)
        return OK
    if not rows:
        say(f"no runs in {arguments.folder}: `entangle run` keeps a log of each")
        return OK
    from entangle._see.lines import duration

    put(f"{'RUN':24}  {'BEGUN':19}  {'STATE':9}  {'TIME':>9}  {'NODES':>7}  NAME")
    for row in rows:
        taken = "" if row["seconds"] is None else duration(row["seconds"])
        # Of what comes one after the other the number isn't known at its begin.
        nodes = f"{row['nodes']:,}" if row["nodes"] else ""
        put(
            f"{row['run']:24}  {when(row['begun']):19}  {row['state']:9}  {taken:>9}  "
            f"{nodes:>7}  {shown(row['name'])}"
        )
    if len(known) > len(rows):
        put(f"… and {len(known) - len(rows):,} older ones: `entangle runs -n 100`")
    return OK


def _row(folder: str, run: str) -> Row:
    from entangle._see.folder import under_way
    from entangle._see.format import NewerLogError
    from entangle._see.reading import Recorded, ending

    row: Row = {"run": run, "begun": 0.0, "state": "unreadable", "seconds": None}
    row |= {"nodes": None, "name": ""}
    try:
        with Recorded(folder, run) as recorded:
            begun = recorded.begun
    except NewerLogError:
        return row | {"state": "newer"}
    except OSError:
        return row
    row |= {"begun": begun.time, "name": begun.name, "nodes": begun.nodes}
    over = ending(folder, run, begun)
    if over is not None:
        return row | {"state": over.outcome, "seconds": over.time - begun.time}
    return row | {"state": "running" if under_way(folder, run) else "died"}
