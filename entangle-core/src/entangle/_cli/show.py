"""`entangle show`: shows what became of the nodes of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .data import printed
from .exits import OK
from .history import add_run, opened, outcome_of, shown, when
from .main import examples
from .run import positive
from .terminal import put, say

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from entangle._see.reading import Recorded
    from entangle._see.state import NodeState, RunState

_LINES = 40


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle show`."""
    examples(parser, "show", "show last --json", "show 20261123-0716 -n 200")
    parser.epilog = (
        "What has failed, what was running, and what took longest comes first; each "
        "node is drawn below the one that takes its value."
    )
    add_run(parser)
    parser.add_argument(
        "-n", type=positive, default=_LINES, metavar="N", help=f"N nodes ({_LINES})"
    )
    parser.add_argument("--json", action="store_true", help="as data, with all nodes")


def execute(arguments: Namespace) -> int:
    """Show one run."""
    from entangle._see.state import DIED, RunState

    with opened(arguments.folder, arguments.run) as recorded:
        state = RunState(recorded.begun)
        state.take(recorded.events())
        outcome = outcome_of(recorded, state, arguments.folder)
        if outcome == DIED:
            state.died()
        if arguments.json:
            printed(_data(recorded, state, outcome))
        else:
            _print(recorded, state, outcome, arguments.n)
        if recorded.damaged:
            say(f"{recorded.damaged:,} lines of the log can't be read")
    return OK


def _print(recorded: Recorded, run: RunState, outcome: str, most: int) -> None:
    from entangle._see.lines import plain, summary, titled, tree

    put(f"run {run.begun.run}, begun {when(run.begun.time)}: {outcome}")
    arguments = recorded.header.get("argv")
    if isinstance(arguments, list):
        put(f"  {shown(' '.join(map(str, arguments)))}")  # pyright: ignore[reportUnknownArgumentType]
    now = time.time() if outcome == "running" else run.now
    for line in tree(run, most, now):
        put(plain(line))
    for node in list(run.failed.values())[:most]:
        if node.where:
            put(f"{plain(titled(node))} was built at {node.where}")
    left = [node for node in run.nodes.values() if node.state == "not run"]
    if left:
        names = list(dict.fromkeys(shown(node.name) for node in left))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""  # noqa: PLR2004 - names in a line
        count = f"{len(left):,} {'node' if len(left) == 1 else 'nodes'}"
        put(f"not run: {', '.join(names[:5])}{more} ({count})")
    if run.over is not None:
        put(plain(summary(run)))
    elif outcome == "died":
        put(f"■ its program ended before it: {run.done:,} of {run.total:,} nodes done")


def _data(recorded: Recorded, run: RunState, outcome: str) -> dict[str, Any]:
    over = run.over
    return {
        "run": run.begun.run,
        "name": run.begun.name,
        "begun": run.begun.time,
        "state": outcome,
        "seconds": None if over is None else over.time - run.begun.time,
        "error": "" if over is None else over.error,
        "nodes": [_node(node) for node in run.nodes.values()],
        "damaged": recorded.damaged,
        "cut": recorded.cut,
    }


def _node(node: NodeState) -> dict[str, Any]:
    ended = node.ended
    data: dict[str, Any] = {
        "node": node.node,
        "name": node.name,
        "state": node.state,
        "where": node.where,
        "place": node.place,
        "inputs": list(node.inputs),
    }
    if node.parent:
        data["parent"] = node.parent
    if ended is not None:
        data |= {"attempt": ended.attempt, "pid": ended.pid, "value": ended.value}
        data |= {"queued": ended.queued, "started": ended.started, "ended": ended.time}
        data |= {"error": ended.error, "cached": ended.cached}
    return data
