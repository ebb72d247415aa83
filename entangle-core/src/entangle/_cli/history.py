"""Finding a run, and a node of it, by what a person types."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from entangle._clean import one_line

from .exits import InvalidError, UsageError
from .main import suggest

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from entangle._see.reading import Recorded
    from entangle._see.state import NodeState, RunState

_NAME = 40  # columns for the name of a node or a run


def add_folder(parser: ArgumentParser) -> None:
    """Declare where the logs are."""
    from entangle._see.folder import FOLDER

    parser.add_argument(
        "--folder", default=FOLDER, help=f"where the logs are ({FOLDER})"
    )


def add_run(parser: ArgumentParser) -> None:
    """Declare which run is meant."""
    parser.add_argument(
        "run",
        nargs="?",
        default="last",
        metavar="RUN",
        help="a run as `entangle runs` names it, its begin or end, or `last` (the default)",
    )
    add_folder(parser)


def known_runs(folder: str) -> list[str]:
    """Return the runs of a folder, the oldest first.

    Raises:
        InvalidError: it can't be read.
    """
    from entangle._see.folder import runs

    try:
        return runs(folder)
    except OSError as error:
        raise InvalidError(f"{folder} can't be read: {error.strerror}") from error


def opened(folder: str, asked: str) -> Recorded:
    """Open the log of the run that is meant.

    Raises:
        UsageError: there is no such run, or more than one.
        InvalidError: its log can't be read.
    """
    from entangle._see.format import NewerLogError
    from entangle._see.reading import Recorded

    known = known_runs(folder)
    if not known:
        raise UsageError(
            f"there are no runs in {folder}: `entangle run` and node.run(log=True) keep "
            "a log of each"
        )
    run = known[-1] if asked == "last" else _only(asked, known)
    try:
        return Recorded(folder, run)
    except NewerLogError as error:
        raise InvalidError(f"run {run}: {error}") from error
    except OSError as error:
        raise InvalidError(
            f"the log of run {run} can't be read: {error.strerror}"
        ) from error


def _only(asked: str, known: list[str]) -> str:
    if asked in known:
        return asked
    found = [run for run in known if run.startswith(asked) or run.endswith(asked)]
    if asked and len(found) == 1:
        return found[0]
    if asked and found:
        raise UsageError(
            f"{len(found)} runs begin or end with {shown(asked)!r}: {', '.join(found[-3:])}"
        )
    raise UsageError(
        f"no run {shown(asked)!r}{suggest(asked, [*known[::-1][:20], 'last'], others=False)}; "
        "`entangle runs` lists them"
    )


def nodes_named(run: RunState, asked: str) -> list[NodeState]:
    """Return the nodes that a number or a name means.

    Raises:
        UsageError: there is none.
    """
    if asked.isdecimal():
        node = run.nodes.get(int(asked))
        if node is None:
            raise UsageError(
                f"no node {asked}: run {run.begun.run} has {len(run.nodes):,} nodes"
            )
        return [node]
    found = [node for node in run.nodes.values() if asked in (node.name, short(node))]
    if not found:
        names = list(dict.fromkeys(short(node) for node in run.nodes.values()))
        raise UsageError(f"no node {shown(asked)!r}{suggest(asked, names[:1000])}")
    return found


def short(node: NodeState) -> str:
    """Return a node's name without where its function is defined."""
    return node.name.rpartition("<locals>.")[2]


def shown(text: str) -> str:
    """Return a text as it may be shown in a line."""
    return one_line(text, _NAME)


def when(moment: float) -> str:
    """Return a moment as people of here read it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    except (OverflowError, OSError, ValueError):
        return "?"


def outcome_of(recorded: Any, state: RunState, folder: str) -> str:
    """Say how a run has ended, or that it has not."""
    from entangle._see.folder import under_way

    if state.over is not None:
        return state.over.outcome
    return "running" if under_way(folder, recorded.run) else "died"
