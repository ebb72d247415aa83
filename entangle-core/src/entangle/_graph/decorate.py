"""What all decorators have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from entangle._graph import callables, declared, pack, platforms
from entangle._graph.facets import Facet, written_at
from entangle._graph.flow import Flow
from entangle._graph.node import Node
from entangle._graph.spec import Spec
from entangle._graph.task import Task
from entangle.errors import CompositionError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Executor
    from typing import Literal, TypedDict

    from entangle._graph.configured import Located
    from entangle._graph.flow_task import FlowTask

    class Policy(TypedDict, total=False):
        """The options of every decorator that says how a task runs."""

        timeout: float | None
        wait: float | None
        start: float | None
        retry: int
        sleep: float
        backoff: float
        retry_on: type[BaseException] | Iterable[type[BaseException]]
        retry_error: bool
        limit: int | None
        cache: bool | Literal["run"]
        version: str | int | None
        cache_key: Callable[..., Any] | None
        cache_ignore: Iterable[str]

    class ProcessOptions(Policy, total=False):
        """The options of processes."""

        fresh: bool
        preload: Iterable[str]
        env: Mapping[str, str] | None
        cwd: str | os.PathLike[str] | None
        nice: int | None
        shared_memory: bool

    class TaskOptions(ProcessOptions, total=False):
        """The options of the general form."""

        executor: Executor | Decorator | Located | str | None


P = ParamSpec("P")
R = TypeVar("R")

# A worker looks for returned nodes only where this module is loaded, and nodes can
# only exist there if decorators do.
RETURNED_NODES: Final = pack.contains_node

# What no keyword can be: None is a wrong argument, not a missing one.
MISSING: Final = object()

platforms.require_platform()


class Decorator:
    """A decorator with its options, to be applied to any number of functions."""

    __slots__ = ("_facets", "_name")

    def __init__(self, name: str, facets: tuple[Facet, ...]) -> None:
        """Make a decorator that states these facets."""
        self._name = name
        self._facets = facets

    @overload
    def __call__(self, fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...
    @overload
    def __call__(self, fn: Task[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Make a task of a function, or a richer one of a task.

        Raises:
            CompositionError: If the decorator does not fit the function or its other
                decorators.
        """
        return _apply(self._name, fn, self._facets)

    @property
    def target(self) -> object:
        """The place that the decorator states; None if it states none."""
        for facet in self._facets:
            if facet.key == "where" and not isinstance(facet.value, str):
                return facet.value
        return None

    def __repr__(self) -> str:
        """Show the name and what it states."""
        return f"<decorator @{self._name}: {Spec(self._facets).summary()}>"


def decorate(
    name: str, fn: object, stated: Mapping[str, object], options: Mapping[str, object]
) -> Any:
    """Do the work of a decorator, bare or with options.

    Args:
        name: The decorator's name.
        fn: What it decorates; `MISSING` if it was called with options alone.
        stated: What the decorator itself states, by key of the facet.
        options: The options it was given.

    Returns:
        A task, or a `Decorator`.

    Raises:
        OptionError: If an option is unknown or unusable.
        CompositionError: If the decorator does not fit the function or its other
            decorators.
    """
    plain = declared.checked(name, options)
    return state(name, fn, {**stated, **plain})


def state(name: str, fn: object, stated: Mapping[str, object]) -> Any:
    """Add facets, whose values are checked, to a function.

    Args:
        name: The decorator's name.
        fn: What it decorates; `MISSING` for a decorator to be applied later.
        stated: The values of the facets by key.
    """
    origin = written_at()
    facets = tuple(
        Facet(key, value, f"@{name}", origin) for key, value in stated.items()
    )
    if fn is MISSING:
        return Decorator(name, facets)
    return _apply(name, fn, facets)


def _apply(name: str, fn: Any, facets: tuple[Facet, ...]) -> Task[..., Any]:
    kind = callables.kind_of(fn)
    if issubclass(kind, Task):
        task: Task[..., Any] = fn
        return task.with_facets(facets)
    if kind is Flow:
        raise CompositionError(
            f"@{name} decorates functions, and this is a flow, built at {fn.where}; "
            "decorate the functions, then build it",
            task=fn.name,
        )
    if kind is Node:
        raise CompositionError(
            f"@{name} decorates functions, and this is a call of one: "
            f"{fn.name}() built at {fn.where}; decorate the function, then call it",
            task=fn.name,
        )
    plain = fn.__func__ if callables.is_wrapped_method(fn) else fn
    if plain is not fn and issubclass(callables.kind_of(plain), Task):
        wrap: Any = kind
        return _apply(name, wrap(plain.fn), (*plain.spec.facets, *facets))
    if not callable(plain):
        raise declared.positional(name, fn)
    if callables.is_generator(plain):
        called = callables.name_of(plain)
        raise CompositionError(
            f"@{name} cannot decorate {called}, a generator function: a task gives "
            "one value; return a list, or feed a flow item by item with flow.stream",
            task=called,
        )
    made: Task[..., Any] = Task(fn, Spec())
    return made.with_facets(facets)
