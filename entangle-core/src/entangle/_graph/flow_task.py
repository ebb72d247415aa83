"""A task whose calls build push graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar, overload

from entangle._graph import callables
from entangle._graph.flow import Flow, build_flow
from entangle._graph.frames import getframe
from entangle._graph.node import Node
from entangle._graph.task import KINDS, BoundTask, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    Q = ParamSpec("Q")
    R = TypeVar("R")

    class FlowDecorator(Protocol):
        """The decorator ``@dataflow`` with its options."""

        @overload
        def __call__(self, fn: Task[Q, R], /) -> FlowTask[Q, R]: ...
        @overload
        def __call__(self, fn: Callable[Q, R], /) -> FlowTask[Q, R]: ...


P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_new: Callable[[type[Any]], Any] = object.__new__


class FlowTask(Task[P, R_co]):
    """A function whose calls build flows; what ``@dataflow`` makes of it.

    A call states to whom the value goes, not where the arguments come from: see
    `Flow`. Immutable; may be called from any thread.
    """

    __slots__ = ("lowered",)

    # The plain tasks that run it, by the place that a flow's root gives it.
    lowered: dict[object, Task[..., Any]]

    def _set(self, fn: Any, spec: Any, first: int, options: Any) -> None:
        super()._set(fn, spec, first, options)
        self.lowered = {}

    @overload  # type: ignore[override]
    def __call__(
        self: FlowTask[..., Coroutine[Any, Any, T]],
        /,
        *children: Flow | Callable[[T], object],
        **constants: Any,
    ) -> Flow: ...
    @overload
    def __call__(
        self, /, *children: Flow | Callable[[R_co], object], **constants: Any
    ) -> Flow: ...
    def __call__(self, /, *children: Any, **constants: Any) -> Flow:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Build a flow: the function, and what its value is given to; nothing runs.

        Args:
            *children: Flows that get the value, and functions that get it and choose:
                each returns a flow, a list of flows, or None.
            **constants: Keyword arguments of every call of the function.

        Raises:
            TypeError: If a child is neither, or a constant is a node.
        """
        frame = getframe(1)
        return self.build((), children, constants, frame.f_code, frame.f_lasti)

    def build(
        self,
        first: tuple[Any, ...],
        children: tuple[Any, ...],
        constants: dict[str, Any],
        code: Any,
        lasti: int,
    ) -> Flow:
        """Build a flow whose calls begin with the arguments ``first``."""
        for child in children:
            if type(child) is not Flow:
                _check_chooser(child, self.name)
        for name, value in constants.items():
            kind = callables.kind_of(value)
            if kind is Node or kind is Flow:
                what = "node" if kind is Node else "flow"
                raise TypeError(
                    f"{self.name}({name}=...) got a {what}, but keywords of a flow are "
                    "constants: values reach a function from the one outside of it; "
                    f"place {self.name}() inside of what {name} comes from"
                )
        return build_flow(self, first, children, constants or None, code, lasti)

    def map(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: values come to a flow when it is called.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"{self.name} is a dataflow task, which has no map(): give the inputs to "
            f"{self.name}(...).stream(inputs)"
        )

    def starmap(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse, as `map`.

        Raises:
            TypeError: Always.
        """
        self.map()

    if TYPE_CHECKING:
        # The arguments of a flow's functions are not checked, so neither is the first.
        def __get__(  # type: ignore[override]
            self, instance: object, owner: type | None = None
        ) -> FlowTask[..., R_co]: ...
    else:

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            """Find the task on a class or an instance, as Python finds a function."""
            found = super().__get__(instance, owner)
            return found if found is self else BoundFlowTask(self, found.first)

    def reduced_by_value(self) -> tuple[Any, ...]:
        """Pickle as the function and the spec, wherever the name leads."""
        _, args, state = super().reduced_by_value()
        return _blank, args, state


class BoundFlowTask(BoundTask[P, R_co]):
    """A dataflow task found on an instance: each call gets that instance first."""

    __slots__ = ()

    if not TYPE_CHECKING:
        map = FlowTask.map
        starmap = FlowTask.starmap

    if not TYPE_CHECKING:

        def __call__(self, /, *children: Any, **constants: Any) -> Flow:
            """Build a flow, whose calls get the instance before the value."""
            frame = getframe(1)
            first = (self.first,)
            return self.task.build(
                first, children, constants, frame.f_code, frame.f_lasti
            )

    def reduced_by_value(self) -> tuple[Any, ...]:
        """Pickle the task and its first argument."""
        return BoundFlowTask, (self.task, self.first)


# The firing of these tasks.
DATAFLOW: Final = "dataflow"
KINDS[DATAFLOW] = FlowTask


def _blank() -> object:
    """Make an empty task for unpickling to fill."""
    blank: object = _new(FlowTask)
    return blank


def _check_chooser(child: Any, parent: str) -> None:
    """Refuse what is no function that chooses.

    Raises:
        TypeError: With what to do instead.
    """
    kind = callables.kind_of(child)
    text = f"{parent}() is a dataflow task: it takes flows and functions that choose"
    if issubclass(kind, FlowTask | BoundFlowTask):
        raise TypeError(f"{text}, and {child.name} is an uncalled task: call it")
    if issubclass(kind, Task):
        raise TypeError(
            f"{text}, and {child.name} is a task without @dataflow: "
            f"dataflow({child.name})() makes a flow of it"
        )
    if kind is Node:
        raise TypeError(
            f"{text}, and {child.name}() is the call of a task without @dataflow, "
            f"built at {child.where}: dataflow({child.name})() makes a flow of it"
        )
    if issubclass(kind, type) or not callable(child):
        raise TypeError(
            f"{text}, not {kind.__qualname__} {_brief(child)}: constants are given by "
            "name, and what comes into the flow when it is called"
        )
    if callables.is_generator(child):
        raise TypeError(
            f"{text}, and {callables.name_of(child)} is a generator function: return "
            "a flow, a list of flows, or None"
        )


def _brief(value: object) -> str:
    # Imported here: only a mistake needs it.
    from entangle._graph.values import brief

    return brief(value)
