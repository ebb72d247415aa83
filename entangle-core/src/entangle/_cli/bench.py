"""`entangle bench`: measures this machine, Entangle and what else is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .exits import NODE_FAILED, OK, UsageError
from .main import examples

if TYPE_CHECKING:
    import argparse

QUICK, FULL = 0.05, 1.0
QUICK_ROUNDS, FULL_ROUNDS = 2, 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle bench`."""
    from entangle._bench.plugged import rows, workloads
    from entangle._bench.run import WORKLOADS

    known = [*workloads(rows(WORKLOADS), WORKLOADS)]
    examples(parser, "bench", "bench --only fanout --rounds 5", "bench --full")
    parser.epilog = (
        "All are measured in interleaved rounds of one run. The table has medians over "
        "the rounds; x4.1 is 4.1 times what Entangle takes. joblib and dask take part "
        "if they are installed, and so does what plugins bring."
    )
    parser.add_argument(
        "--full", action="store_true", help="all of it, five rounds: some minutes"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument(
        "--only",
        action="append",
        choices=known,
        metavar="WORKLOAD",
        help=f"repeatable, one of: {', '.join(known)}",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME",
        help="part of a peer's name, repeatable",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Measure, print the table, and return the exit code."""
    from entangle._bench import plugged, run

    # Told now, not after minutes of measuring.
    if arguments.rounds is not None and arguments.rounds < 1:
        raise UsageError(f"--rounds {arguments.rounds}: at least one is needed")
    file = arguments.json
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise UsageError(
            f"--json {file}: this can't be written; name a file in a folder"
        )
    only = arguments.only
    brought = plugged.rows(run.WORKLOADS)
    workloads = plugged.workloads(brought, run.WORKLOADS)
    names = [name for name in workloads if not only or name in only]
    chosen = run.peers(arguments.peer, brought, names)
    if not chosen:
        raise UsageError(
            f"no peer has {' or '.join(map(repr, arguments.peer))} in its name: leave "
            "--peer out to see all names"
        )
    rounds = arguments.rounds or (FULL_ROUNDS if arguments.full else QUICK_ROUNDS)
    scale = FULL if arguments.full else QUICK
    samples = run.rounds(chosen, names, rounds, scale, workloads)
    print(run.table(samples, chosen, workloads))
    if file is not None:
        report = {
            "machine": run.machine(),
            "units": {name: workloads[name].unit for name in names},
            "samples": samples,
        }
        file.write_text(json.dumps(report, indent=1) + "\n")
    failed = any(None in costs for by in samples.values() for costs in by.values())
    return NODE_FAILED if failed else OK
