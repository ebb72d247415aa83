"""Decorators that say where the argument of a function comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from entangle._graph.configured import Configured

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from entangle._graph.flow_task import FlowTask
    from entangle._graph.target import Settings
    from entangle._graph.task import Task

P = ParamSpec("P")
Q = ParamSpec("Q")
S = ParamSpec("S")
R = TypeVar("R")


class Supplying(Configured, Generic[Q, S]):
    """A decorator that names a source: calls are what the source takes.

    Attributes:
        calls_like: The callable whose parameters the calls of a task have; None where
            the source alone knows them.
    """

    calls_like: Callable[..., Any] | None = None

    # That options are given by name alone is not to be seen from a ParamSpec.
    @overload
    def __call__(self, fn: FlowTask[P, R], /) -> FlowTask[S, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Task[P, R], /) -> Task[S, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[S, R]: ...
    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> SupplyingDecorator[S]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function, or give the options for that."""
        return self._applied(args, kwargs)

    def stated(self, settings: Settings) -> dict[str, object]:
        """Return the facet: where the argument comes from."""
        return {"source": settings}


if TYPE_CHECKING:

    class SupplyingDecorator(Protocol[S]):
        """A source's decorator with its options."""

        @overload
        def __call__(self, fn: FlowTask[P, R], /) -> FlowTask[S, R]: ...
        @overload
        def __call__(self, fn: Task[P, R], /) -> Task[S, R]: ...
        @overload
        def __call__(self, fn: Callable[P, R], /) -> Task[S, R]: ...
