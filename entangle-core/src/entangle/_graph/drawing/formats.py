"""Graphs in each format that pictures have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .sketch import sketch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .sketch import Root


def as_mermaid(root: Root, states: Mapping[Any, str] | None) -> str:
    """Draw a graph as Mermaid's text; see `Node.to_mermaid`."""
    from .mermaid import written

    return written(sketch(root, states))


def as_dot(root: Root, states: Mapping[Any, str] | None) -> str:
    """Draw a graph as Graphviz's text; see `Node.to_dot`."""
    from .dot import written

    return written(sketch(root, states))


def as_svg(root: Root, states: Mapping[Any, str] | None) -> str:
    """Draw a graph as an SVG document; see `Node.to_svg`."""
    from .svg import drawn

    return drawn(sketch(root, states))


def as_tree(root: Root, states: Mapping[Any, str] | None) -> str:
    """Draw a graph as lines: what a node takes, or a flow feeds, is below it."""
    from entangle._graph.node import Node

    from .tree import written

    return written(sketch(root, states), inputs=isinstance(root, Node))


def as_bundle(root: Root, states: Mapping[Any, str] | None = None) -> dict[str, str]:
    """Return what notebooks show of a graph: its picture, else its repr."""
    from entangle.errors import PictureError

    shown = {"text/plain": repr(root)}
    try:
        shown["image/svg+xml"] = as_svg(root, states)
    except PictureError as error:
        shown["text/plain"] += f"\n{error}"
    return shown
