"""The door from a node to the run layer, which is loaded when first used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from entangle._worker import main as worker
from entangle.errors import NestedRunError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from entangle._graph.flow import Flow
    from entangle._graph.node import Node
    from entangle._run.future import RunFuture
    from entangle._run.plan import Plan


def _layer(name: str) -> Any:
    # By text: the graph knows of no layer above it but these names.
    layer = sys.modules.get(name)
    if layer is None or getattr(layer.__spec__, "_initializing", False):
        from importlib import import_module

        layer = import_module(name)
    return layer


def _api() -> Any:
    return _layer("entangle._run.away" if _away() else "entangle._run.api")


def _away() -> bool:
    """Tell whether this process is a worker in a place, which has no run layer.

    Raises:
        NestedRunError: it was forked from one, whose stream is not its own.
    """
    here = worker.current
    if here is not None:
        return here.modules is not None
    importer = sys.modules.get("entangle._worker.importer")
    found = None if importer is None else importer.installed()
    if found is not None and found.ask is not None:
        raise forked()
    return False


def forked() -> NestedRunError:
    """Return why nothing can be run here: the way to the caller is the task's own."""
    return NestedRunError(
        "a graph was run by a process that a task in another place has forked",
        "run it in the task's own process",
    )


def run(
    node: Node[Any],
    workers: int | None = None,
    timeout: float | None = None,
    **seen: Any,
) -> Any:
    """Run a graph and wait for its value."""
    return _api().run(node, workers=workers, timeout=timeout, **seen)


def submit(
    node: Node[Any], workers: int | None = None, timeout: float | None = None
) -> RunFuture[Any]:
    """Start to run a graph."""
    future: RunFuture[Any] = _api().submit(node, workers=workers, timeout=timeout)
    return future


def awaited(node: Node[Any]) -> Generator[Any, None, Any]:
    """Give the iterator that awaits a graph."""
    iterator: Generator[Any, None, Any] = _api().awaited(node)
    return iterator


def as_completed(
    nodes: Iterable[Node[Any]], timeout: float | None, ahead: int | None
) -> Iterator[tuple[Node[Any], RunFuture[Any]]]:
    """Run graphs and yield each as it lands."""
    pairs: Iterator[tuple[Node[Any], RunFuture[Any]]] = _api().as_completed(
        nodes, timeout=timeout, ahead=ahead
    )
    return pairs


def flows() -> Any:
    """Give what runs flows."""
    return _api().flows if _away() else _layer("entangle._run.flows")


def plan(root: Node[Any] | Flow) -> Plan:
    """Say what would run where."""
    planned: Plan = _layer("entangle._run.plan").plan(root)
    return planned


def shutdown() -> None:
    """End the pool of this process."""
    _api().shutdown()
