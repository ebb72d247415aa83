"""Telling where in the graph an error came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._engine_items import failure_path

from . import failed

if TYPE_CHECKING:
    from entangle._engine_items import Item
    from entangle._graph.node import Node

_LONGEST_PATH = 12


def note_node(error: BaseException, node: Node[Any]) -> None:
    """Add the note for a node that can't even be begun."""
    failed.note_path(error, node, [], 0)
    BaseException.add_note(error, in_node(node))


def in_node(node: Node[Any]) -> str:
    """Return how the note of a node begins."""
    return f"in node {node.name} ({node.where})"


def note_path(error: BaseException, root: Item) -> None:
    """Add the note for one failed root, once."""
    from .calls import node_of

    items = failure_path(root)
    nodes = [node for node in map(node_of, items) if hasattr(node, "task")]
    if not nodes:
        return
    last = nodes[-1]
    failed.note_path(error, last, nodes[-2::-1], items[-1].attempt)
    lines = [in_node(last)]
    callers = list(reversed(nodes[:-1]))
    shown = callers
    if len(callers) > _LONGEST_PATH:
        shown = callers[: _LONGEST_PATH // 2]
    lines.extend(f"  needed by {node.name} ({node.where})" for node in shown)
    if shown is not callers:
        rest = callers[-_LONGEST_PATH // 2 :]
        lines.append(f"  ... {len(callers) - len(shown) - len(rest)} more ...")
        lines.extend(f"  needed by {node.name} ({node.where})" for node in rest)
    note = "\n".join(lines)
    # Nothing that the user's class defines is called: this may be in the monitor.
    if note not in vars(error).get("__notes__", ()):
        BaseException.add_note(error, note)
