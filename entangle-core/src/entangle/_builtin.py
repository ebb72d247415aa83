"""What core adds to itself, through the same hooks as any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENTANGLE_SPI = 1


@hookimpl
def entangle_executors() -> Mapping[str, Callable[[], Any]]:
    """Name the places of core."""
    from entangle._run.executors import InlineExecutor, ProcessExecutor, ThreadExecutor

    return {
        "inline": InlineExecutor,
        "process": ProcessExecutor,
        "thread": ThreadExecutor,
    }
