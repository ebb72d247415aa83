"""`entangle logs`: prints what the tasks of a run have printed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from entangle._clean import clean

from .exits import OK
from .history import add_run, nodes_named, opened, shown
from .main import examples
from .terminal import put, say

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Collection

    from entangle._see.reading import Recorded

EPILOG = """\
NODE is the name of a task, or the number of a node as `entangle show --json` gives it.
Control characters are shown, not obeyed; --json gives what was printed exactly.
"""
_LOOK = 0.2  # seconds between two looks at a log that is followed


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle logs`."""
    examples(parser, "logs", "logs last mult", "logs last 17", "logs last -f")
    parser.epilog = EPILOG
    add_run(parser)
    parser.add_argument(
        "node", nargs="?", metavar="NODE", help="only what this has printed"
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the run is over"
    )
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each text, as printed"
    )


def execute(arguments: Namespace) -> int:
    """Print what was printed."""
    from entangle._see.state import RunState

    with opened(arguments.folder, arguments.run) as recorded:
        wanted: Collection[int] | None = None
        if arguments.node is not None:
            with opened(arguments.folder, recorded.run) as again:
                state = RunState(again.begun)
                state.take(again.events())
            wanted = {node.node for node in nodes_named(state, arguments.node)}
        _print(recorded, wanted, arguments)
        if recorded.damaged:
            say(f"{recorded.damaged:,} lines of the log can't be read")
    return OK


def _print(
    recorded: Recorded, wanted: Collection[int] | None, arguments: Namespace
) -> None:
    from entangle._seam.events import NodeOutput, RunEnded
    from entangle._see.folder import under_way

    while True:
        going = arguments.follow and under_way(arguments.folder, recorded.run)
        for event in recorded.events(follow=arguments.follow):
            if type(event) is NodeOutput and (wanted is None or event.node in wanted):
                _put(event, labelled=wanted is None, data=arguments.json)
            elif type(event) is RunEnded:
                return
        if not going:
            return
        time.sleep(_LOOK)


def _put(event: Any, *, labelled: bool, data: bool) -> None:
    if data:
        import json

        fields = ("time", "node", "name", "stream", "text")
        put(json.dumps({name: getattr(event, name) for name in fields}))
        return
    label = f"{shown(event.name)} {event.node} │ " if labelled else ""
    for text in clean(event.text).splitlines():
        put(label + text)
