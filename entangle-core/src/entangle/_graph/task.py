"""A task: a plain function with the spec of how and where it runs."""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    overload,
)

from entangle._graph import caching, callables, naming, rules, supplied
from entangle._graph.arity import Arity, lacks
from entangle._graph.frames import getframe
from entangle._graph.node import Node, build
from entangle._graph.spec import Spec
from entangle._graph.supplied import SHARED_MEMORY, Supplied
from entangle._graph.target import Target
from entangle.errors import CompositionError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from entangle._graph.facets import Facet
    from entangle._graph.options import Options

P = ParamSpec("P")
Q = ParamSpec("Q")
A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_new: Callable[[type[Any]], Any] = object.__new__

# What kind of task a firing makes; filled by the modules that define them.
KINDS: Final[dict[object, type[Task[..., Any]]]] = {}

# What the function found on a class is given first.
_NOTHING: Final = 0
_INSTANCE: Final = 1
_CLASS: Final = 2


def _anything(*values: Any, **parameters: Any) -> Any:
    """Stand for what calls of a task with a source look like."""


def _check_takes_memory(fn: Any, spec: Spec, name: str) -> None:
    problem = lacks(fn, SHARED_MEMORY)
    if problem:
        facet = spec.facet("shared_memory")
        raise CompositionError(
            f"{name}: {facet} gives the function the keywords smm and sm, and {problem}: "
            f"write def {name}(..., smm=None, sm=None)",
            task=name,
            origins=(facet.origin,) if facet is not None else (),
        )


class Task(Generic[P, R_co]):
    """A function that builds nodes when called, and how these run.

    Tasks are immutable and may be called from any thread. A decorator over a task
    makes another task, with the same function and a richer spec.

    Attributes:
        fn: The plain function; calling it runs it here and now.
        body: What a place calls: the function, together with its source if it has one.
        spec: What the decorators state.
        options: The spec, resolved.
        name: The qualified name of the function.
        module: The name of the module that the function was made in.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_arity",
        "_first",
        "_high",
        "_low",
        "_rest",
        "body",
        "fn",
        "module",
        "name",
        "options",
        "spec",
    )

    fn: Callable[..., Any]
    body: Callable[..., Any]
    spec: Spec
    options: Options
    name: str
    module: str

    def __init__(self, fn: Any, spec: Spec, options: Options | None = None) -> None:
        """Make a task of a function.

        Args:
            fn: Any callable; a classmethod or staticmethod stays one.
            spec: How and where it runs.
            options: The resolved spec; resolved here if it is None.
        """
        first = _INSTANCE if callables.binds(fn) else _NOTHING
        if callables.is_wrapped_method(fn):
            first = _CLASS if callables.kind_of(fn) is classmethod else _NOTHING
            fn = fn.__func__
        self._set(fn, spec, first, options)

    def _set(
        self,
        fn: Any,
        spec: Spec,
        first: int,
        options: Options | None,
    ) -> None:
        self.fn = fn
        self.spec = spec
        self.options = options or spec.options(is_async=callables.is_async(fn))
        self.body = fn
        if self.options.source is not None:
            self.body = Supplied(
                self.options.source,
                fn,
                shares=self.options.shared_memory,
                elsewhere=supplied.runs_elsewhere(self.options),
            )
        self._rest: Task[..., Any] | None = None
        self.name = callables.name_of(fn)
        self.module = callables.module_of(fn)
        self._first = first
        # No call fits this: the first one reads the parameters. They may not be
        # there yet, where a function is unpickled that refers to its own task.
        self._low, self._high = 1, 0
        self._arity: Arity | None = None
        own = self.__dict__
        if issubclass(callables.kind_of(fn), FunctionType | partial):
            # As functools.wraps does, but for what a task has itself.
            own.update(
                (name, value)
                for name, value in fn.__dict__.items()
                if not hasattr(Task, name)
            )
        own["__name__"] = getattr(fn, "__name__", self.name.rpartition(".")[2])
        own["__qualname__"] = self.name
        own["__module__"] = self.module
        own["__doc__"] = getattr(fn, "__doc__", None)
        own["__wrapped__"] = fn

    def with_facets(self, facets: Iterable[Facet]) -> Task[P, R_co]:
        """Make a task of the same function with a richer spec.

        Args:
            facets: What to add to the spec.

        Raises:
            CompositionError: If they contradict the spec or the kind of the function.
        """
        spec = self.spec.compose(facets, self.name)
        rules.check(spec, task=self.name, is_async=self.options.is_async)
        if spec.value("shared_memory"):
            _check_takes_memory(self.fn, spec, self.name)
        options = spec.options(is_async=self.options.is_async)
        source = spec.facet("source")
        if source is not None:
            place = spec.facet("where") or spec.facet("executor")
            supplied.check(self.fn, options, source, place, self.name)
        task: Task[P, R_co] = _new(KINDS.get(spec.value("firing"), Task))
        task._set(self.fn, spec, self._first, options)
        task.__dict__.update(self.__dict__)
        return task

    @overload
    def __call__(
        self: Task[P, Node[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Node[T]: ...
    @overload
    def __call__(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Node[T]: ...
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Node[R_co]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Build a node for a call of the function; nothing runs.

        Args:
            *args: The function's arguments; nodes among them, or in lists, tuples,
                dicts and sets, arrive as their values.
            **kwargs: As `args`.

        Raises:
            TypeError: If the function cannot be called like this.
        """
        if kwargs or not self._low <= len(args) <= self._high:
            self._check(args, kwargs)
        # As node.build, written out: a million of these is an ordinary graph.
        frame = getframe(1)
        node = _new(Node)
        node.task = self
        node.args = args
        node.kwargs = kwargs or None
        node.follows = None
        node.code = frame.f_code
        node.lasti = frame.f_lasti
        return node

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check the arguments of a call against the function's parameters."""
        if isinstance(self.body, Supplied):
            self._check_supplied(self.body, args, kwargs)
            return
        arity = self._arity
        if arity is None:
            place = self.options.executor
            like = place.of.calls_like if type(place) is Target else None
            given = SHARED_MEMORY if self.options.shared_memory else ()
            if not caching.PLAIN.isdisjoint(facet.key for facet in self.spec.facets):
                caching.check(self.spec, like or self.fn, self.name)
            arity = self._arity = Arity(like or self.fn, self.name, given)
            self._low, self._high = arity.low, arity.high
        arity.check(args, kwargs)

    def _check_supplied(
        self, body: Supplied, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self._arity is None:
            if not caching.PLAIN.isdisjoint(facet.key for facet in self.spec.facets):
                caching.check(self.spec, _anything, self.name)
            like = getattr(body.source.of, "calls_like", None)
            # Each call comes here: what a source says of it is not remembered.
            self._arity = Arity(like or _anything, self.name)
        self._arity.check(args[body.leading :], kwargs)
        body.check(args, kwargs)

    @property
    def rest(self) -> Task[..., Any] | None:
        """The task that takes what a source has supplied; None if this one does."""
        body = self.body
        if not isinstance(body, Supplied) or not body.elsewhere:
            return None
        if supplied.is_empty(self.fn):
            return None
        with supplied.making:
            # One for all runs: the limit of a task is known by it.
            if self._rest is None:
                options = supplied.going_on(self.options)
                facets = [each for each in self.spec.facets if each.key != "source"]
                self._rest = Task(self.fn, Spec(facets), options)
            return self._rest

    # The callable that a task is to callers, so that what its call unwraps is unwrapped
    # here too; checkers do not see that every task is one.
    @overload
    def map(  # pyright: ignore[reportGeneralTypeIssues]
        self: Callable[Concatenate[A, ...], Node[T]],
        items: Iterable[A],
        /,
        *,
        return_exceptions: Literal[False] = False,
        **constants: Any,
    ) -> Node[list[T]]: ...
    @overload
    def map(  # pyright: ignore[reportGeneralTypeIssues]
        self: Callable[Concatenate[A, B, ...], Node[T]],
        items: Iterable[A],
        second: Iterable[B],
        /,
        *more: Iterable[Any],
        return_exceptions: Literal[False] = False,
        **constants: Any,
    ) -> Node[list[T]]: ...
    @overload
    def map(  # pyright: ignore[reportGeneralTypeIssues]
        self: Callable[Concatenate[A, ...], Node[T]],
        items: Iterable[A],
        /,
        *more: Iterable[Any],
        return_exceptions: bool,
        **constants: Any,
    ) -> Node[list[T | BaseException]]: ...
    def map(
        self,
        items: Any,
        /,
        *more: Any,
        return_exceptions: bool = False,
        **constants: Any,
    ) -> Any:
        """Build a call for each item of an iterable, or of several in step.

        As for the builtin, the shortest iterable ends it. Iterables are consumed
        now, except for nodes, whose values are iterated over when they are there.

        Args:
            items: A finite iterable of first arguments, or a node for such.
            *more: The same for each further positional argument.
            return_exceptions: Whether failures are delivered in place of values,
                while the other calls go on.
            **constants: Keyword arguments that all calls share.

        Returns:
            A node for the list of the values, in order.

        Raises:
            TypeError: If the function cannot be called with that many arguments.
        """
        # Imported here: mapping is made of tasks.
        from entangle._graph import mapping

        frame = getframe(1)
        return mapping.mapped(
            self,
            (items, *more),
            constants,
            tolerant=return_exceptions,
            code=frame.f_code,
            lasti=frame.f_lasti,
        )

    @overload
    def starmap(  # pyright: ignore[reportGeneralTypeIssues]
        self: Callable[..., Node[T]],
        tuples: Iterable[Iterable[Any]],
        /,
        *,
        return_exceptions: Literal[False] = False,
        **constants: Any,
    ) -> Node[list[T]]: ...
    @overload
    def starmap(  # pyright: ignore[reportGeneralTypeIssues]
        self: Callable[..., Node[T]],
        tuples: Iterable[Iterable[Any]],
        /,
        *,
        return_exceptions: bool,
        **constants: Any,
    ) -> Node[list[T | BaseException]]: ...
    def starmap(
        self, tuples: Any, /, *, return_exceptions: bool = False, **constants: Any
    ) -> Any:
        """Build a call for each tuple of arguments.

        Args:
            tuples: A finite iterable of tuples of positional arguments, consumed
                now; or a node for such, iterated over when its value is there. A
                tuple may itself be a node.
            return_exceptions: Whether failures are delivered in place of values,
                while the other calls go on.
            **constants: Keyword arguments that all calls share.

        Returns:
            A node for the list of the values, in order.

        Raises:
            TypeError: If the function cannot be called with one of the tuples.
        """
        # Imported here: mapping is made of tasks.
        from entangle._graph import mapping

        frame = getframe(1)
        return mapping.starmapped(
            self,
            tuples,
            constants,
            tolerant=return_exceptions,
            code=frame.f_code,
            lasti=frame.f_lasti,
        )

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check the arguments of a call that is built by other means.

        Args:
            args: The positional arguments; their values do not matter.
            kwargs: The keyword arguments; only their names matter.

        Raises:
            TypeError: If the function cannot be called like this.
        """
        if kwargs or not self._low <= len(args) <= self._high:
            self._check(args, kwargs)

    def unbound(self) -> tuple[Task[..., Any], tuple[Any, ...]]:
        """Give the task whose nodes calls build, and the arguments they begin with."""
        return self, ()

    @overload
    def __get__(  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
        self: Callable[Concatenate[type[A], Q], Node[T]],
        instance: A | None,
        owner: type[A],
    ) -> Task[Q, T]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Task[P, R_co]: ...
    @overload
    def __get__(
        self: Task[Concatenate[A, Q], T], instance: A, owner: type | None = None
    ) -> Task[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Task[P, R_co]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Find the task on a class or an instance, as Python finds a function."""
        if self._first == _INSTANCE and instance is not None:
            first: object = instance
        elif self._first == _CLASS:
            first = callables.kind_of(instance) if owner is None else owner
        else:
            return self
        bound: BoundTask[..., Any] = BoundTask(self, first)
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name where the name leads back here, else by value."""
        if naming.leads_to(self, self.module, self.name):
            return naming.find, (self.module, self.name)
        return self.reduced_by_value()

    def reduced_by_value(self) -> tuple[Any, ...]:
        """Pickle as the function and the spec, wherever the name leads."""
        # Empty first, filled later: a function may refer to its own task.
        state = (self.fn, self.spec, self._first, self.options.is_async)
        return _blank, (), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Fill a task that was pickled by value."""
        fn, spec, first, is_async = state
        self._set(fn, spec, first, spec.options(is_async=is_async))

    def __copy__(self) -> Task[P, R_co]:
        """Give the task itself: it is immutable."""
        return self

    def __deepcopy__(self, memo: object) -> Task[P, R_co]:
        """Give the task itself: it is immutable."""
        return self

    def __repr__(self) -> str:
        """Show the name and what the decorators state."""
        return f"<task {self.module}.{self.name}: {self.spec.summary()}>"


def _blank() -> object:
    """Make an empty task for unpickling to fill."""
    blank: object = _new(Task)
    return blank


class BoundTask(Task[P, R_co]):
    """A task found on an instance: calls begin with that instance.

    It has the attributes of the task that it was made of; its nodes are that task's.

    Attributes:
        task: The task found on the class.
        first: The instance, or the class of a classmethod.
    """

    __slots__ = ("first", "task")

    def __init__(self, task: Task[..., Any], first: object) -> None:
        """Bind a task to its first argument."""
        self.task = task
        self.first = first

    if not TYPE_CHECKING:
        # Only the slots that this class adds are filled; all else is the task's.
        def __getattr__(self, name: str) -> Any:
            if name == "fn":
                return MethodType(self.task.fn, self.first)
            if name == "_first":
                return _NOTHING
            return getattr(self.task, name)

        def __call__(self, /, *args: Any, **kwargs: Any) -> Node[Any]:
            """Build a node for a call with the instance as first argument."""
            frame = getframe(1)
            args = (self.first, *args)
            self.task.check(args, kwargs)
            return build(self.task, args, kwargs or None, frame.f_code, frame.f_lasti)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check arguments that follow the instance."""
        self.task.check((self.first, *args), kwargs)

    def unbound(self) -> tuple[Task[..., Any], tuple[Any, ...]]:
        """Give the task found on the class, and the instance."""
        return self.task, (self.first,)

    def __eq__(self, other: object) -> bool:
        """Compare like bound methods: each access makes a new one."""
        if not isinstance(other, BoundTask):
            return NotImplemented
        return self.task is other.task and self.first is other.first

    def __hash__(self) -> int:
        """Hash like bound methods."""
        return hash((id(self.task), id(self.first)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the task and its first argument."""
        return self.reduced_by_value()

    def reduced_by_value(self) -> tuple[Any, ...]:
        """Pickle the task and its first argument."""
        return BoundTask, (self.task, self.first)
