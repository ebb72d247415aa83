"""``@workflow``: a function that builds a graph when its arguments are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph.decorate import MISSING, decorate

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from entangle._graph.decorate import Decorator, Policy
    from entangle._graph.task import Task

__all__ = ["workflow"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def workflow(fn: Task[P, R], /) -> Task[P, R]: ...
@overload
def workflow(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def workflow(**options: Unpack[Policy]) -> Decorator: ...
def workflow(fn: Any = MISSING, /, **options: Any) -> Any:
    """Make a workflow of a function: its body builds the graph that gives its value.

    The body runs in the caller's process once its arguments are there, as values, and
    returns a node, anything that contains nodes, or a plain value. A workflow is
    called and passed around like any other function.

    Args:
        fn: Any callable that is not an ``async def``.
        **options: As for `entangle.process.process`: ``wait``, ``start``, ``retry``,
            ``sleep``, ``backoff``, ``retry_on``, ``retry_error``, ``limit``,
            ``cache``, ``version``, ``cache_key``, ``cache_ignore``. They
            are about the body, not about the graph that it returns.

    Returns:
        A task; with options alone, a decorator.

    Raises:
        CompositionError: If it does not go with the function or another decorator.
        OptionError: If an option is unknown or has an unusable value.
        UnmetCapabilityError: If an option cannot be honoured for a workflow.
    """
    return decorate("workflow", fn, {"firing": "workflow"}, options)
