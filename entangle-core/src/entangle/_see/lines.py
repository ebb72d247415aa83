"""Lines that show a run: its nodes as a tree, and what it comes to in the end.

A line is a list of pieces, each a text that is safe to show and the name of a style; how
wide the terminal is and what colours it has is known to who writes them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeAlias

from entangle._clean import one_line

from .state import RUNNING, WAITING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .state import NodeState, RunState

Line: TypeAlias = "list[tuple[str, str]]"

GLYPHS: Final = {
    WAITING: ("○", "faint"),
    RUNNING: ("●", "running"),
    "succeeded": ("✓", "good"),
    "expanded": ("✓", "good"),
    "failed": ("✗", "bad"),
    "skipped": ("–", "faint"),
    "not run": ("–", "faint"),
}
_OTHER: Final = ("■", "bad")
_WIDEST_NAME: Final = 40
_VALUE: Final = 60
_STEPS: Final = 6  # of a path that are named
_MINUTE: Final = 60.0
_WORTH_TELLING: Final = 1.05  # times as much work as time: what parallel has brought


def head(run: RunState, now: float) -> Line:
    """Return the line above the tree: what was asked for, and how far it is."""
    line: Line = [(shown_name(run.begun.name or "run"), "name"), ("  ", "")]
    line.append((f"{run.done:,}/{run.total:,}", "name"))
    if run.running:
        line.append((f" · {len(run.running):,} running", "running"))
    if run.failed:
        line.append((f" · {len(run.failed):,} failed", "bad"))
    line.append((f" · {duration(now - run.begun.time)}", "faint"))
    return line


def tree(run: RunState, most: int, now: float) -> list[Line]:
    """Return lines for the nodes that matter most, each under the one that takes it.

    Args:
        run: The run.
        most: How many lines there may be.
        now: The time, in seconds since the epoch.
    """
    if most < 1:
        return []
    chosen = _chosen(run, most)
    folded = run.total - len(chosen)
    if folded > 0 and len(chosen) >= most:
        chosen = chosen[: most - 1]
        folded = run.total - len(chosen)
    lines = _drawn(run, chosen, now)
    if folded > 0:
        lines.append(
            [("└─ " if lines else "", "faint"), (_folded(run, chosen), "faint")]
        )
    return lines


def _chosen(run: RunState, most: int) -> list[NodeState]:
    """Return failed nodes, running ones, slow ones, and the others where there is room."""
    chosen: dict[int, NodeState] = {}
    groups: list[Sequence[NodeState]] = [
        list(run.failed.values())[: max(1, most // 2)],
        list(run.running.values())[:most],
        run.slowest(most),
    ]
    if run.total <= most:
        groups.append([node for node in run.nodes.values() if node.place])
    for group in groups:
        for node in group:
            if len(chosen) < most:
                chosen[node.node] = node
    return list(chosen.values())


def _drawn(run: RunState, chosen: Sequence[NodeState], now: float) -> list[Line]:
    """Draw nodes, the inputs of each below it."""
    known = {node.node: node for node in chosen}
    below: dict[int, list[NodeState]] = {}
    placed: set[int] = set()
    for node in chosen:
        for number in run.sources(node):
            if number in known and number not in placed and number != node.node:
                placed.add(number)
                below.setdefault(node.node, []).append(known[number])
        if node.parent in known and node.node not in placed:
            placed.add(node.node)
            below.setdefault(node.parent, []).append(node)
    tops = [node for node in chosen if node.node not in placed] or list(chosen[:1])
    lines: list[Line] = []
    drawn: set[int] = set()
    stack = [(node, "", at == len(tops) - 1) for at, node in enumerate(tops)][::-1]
    while stack:
        node, indent, last = stack.pop()
        if node.node in drawn:
            continue
        drawn.add(node.node)
        lines.append(
            [(indent + ("└─ " if last else "├─ "), "faint"), *_node(node, now)]
        )
        children = below.get(node.node, [])
        deeper = indent + ("   " if last else "│  ")
        for at in reversed(range(len(children))):
            stack.append((children[at], deeper, at == len(children) - 1))
    return lines


def titled(node: NodeState) -> Line:
    """Return the sign of a node's state, and its name."""
    glyph, style = GLYPHS.get(node.state, _OTHER)
    return [(f"{glyph} ", style), (shown_name(node.name), "name")]


def _node(node: NodeState, now: float) -> Line:
    line = titled(node)
    if node.attempt > 1:
        line.append((f" · attempt {node.attempt}", "faint"))
    if node.state == RUNNING:
        line.append((f"  {duration(now - node.began)}", ""))
        line.append((f"  {_where(node)}", "faint"))
    elif node.ended is not None:
        if node.ended.started:
            line.append((f"  {duration(node.seconds)}", ""))
        if node.ended.cached:
            line.append(("  kept value", "faint"))
        if node.ended.error:
            line.append((f"  {one_line(node.ended.error, _VALUE)}", "bad"))
        elif node.ended.value:
            line.append((f"  → {one_line(node.ended.value, _VALUE)}", "faint"))
    return line


def _where(node: NodeState) -> str:
    place = one_line(node.place, _WIDEST_NAME)
    return f"{place} {node.pid}" if node.pid and node.place == "process" else place


def _folded(run: RunState, chosen: Sequence[NodeState]) -> str:
    shown = {node.node for node in chosen}
    running = sum(number not in shown for number in run.running)
    failed = sum(number not in shown for number in run.failed)
    done = run.done - sum(_is_done(node) for node in chosen)
    waiting = run.total - len(chosen) - running - failed - done
    parts = [
        f"{count:,} {word}"
        for count, word in (
            (failed, "failed"),
            (running, "running"),
            (done, "done"),
            (waiting, "waiting"),
        )
        if count > 0
    ]
    return "… " + (" · ".join(parts) or "more")


def _is_done(node: NodeState) -> bool:
    return node.state in {"succeeded", "expanded", "skipped"}


def summary(run: RunState) -> Line:
    """Return the line that is left when a run is over."""
    over = run.over
    outcome = "cancelled" if over is None else over.outcome
    seconds = (run.now if over is None else over.time) - run.begun.time
    count = f"{run.total:,} {'node' if run.total == 1 else 'nodes'}"
    if outcome == "succeeded":
        line: Line = [("✓ ", "good"), (f"{count} in {duration(seconds)}", "name")]
    else:
        glyph = "✗ " if outcome == "failed" else "■ "
        line = [(glyph, "bad"), (f"{outcome} after {duration(seconds)}", "name")]
        line.append((f" · {run.done:,} of {count} done", ""))
        if run.failed:
            first = next(iter(run.failed.values()))
            line.append((f" · {shown_name(first.name)} failed", "bad"))
    path = [shown_name(node.name) for node in run.critical_path()]
    if len(path) > 1:
        if len(path) > _STEPS:
            path = [*path[: _STEPS // 2], "…", *path[-_STEPS // 2 :]]
        line.append((f" · critical path {' → '.join(path)}", "faint"))
    if run.work > _WORTH_TELLING * seconds > 0:
        line.append((f" · {run.work / seconds:.1f}× parallel", "faint"))
    return line


def shown_name(name: str) -> str:
    """Return a task's name as it is shown: without where its function is defined."""
    return one_line(name.rpartition("<locals>.")[2], _WIDEST_NAME)


def shown_where(where: str) -> str:
    """Return a line of a file as it is shown."""
    return one_line(os.path.relpath(where) if where.startswith("/") else where, 60)


def duration(seconds: float) -> str:
    """Return a time as people read it."""
    if seconds < 0.0995:  # noqa: PLR2004 - what rounds to 0.1 s
        return f"{max(0.0, seconds) * 1e3:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - two digits tell enough
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


def plain(line: Line) -> str:
    """Return a line without its styles."""
    return "".join(text for text, _ in line)
