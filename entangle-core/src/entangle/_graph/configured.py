"""Decorators that are made of a function with typed, keyword-only options."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, overload

from entangle._graph.decorate import MISSING, state
from entangle._graph.options import Options
from entangle._graph.target import Settings, Target, frozen
from entangle.errors import OptionError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from entangle._graph.decorate import Decorator
    from entangle._graph.flow_task import FlowTask
    from entangle._graph.task import Task

P = ParamSpec("P")
Q = ParamSpec("Q")
S = ParamSpec("S")
R = TypeVar("R")
T = TypeVar("T")

_KEYWORDS: Final = 0x08  # a code object's flag: it takes **keywords
_TAKEN: Final = frozenset({*Options._fields, "where", "firing", "impl"})


class Configured:
    """A decorator with options of its own; made at import, used by any thread.

    Attributes:
        name: What it is called, without the @.
        make: What is called with the options: an executor class, or a function that
            returns settings.
        partners: The decorators whose settings `make` gets too, by their names.
        excludes: Names of decorators that it does not go with.
        secrets: Names of options whose values are not to be shown.
        module: The module that it was made in.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Any],
        *,
        module: str,
        partners: Iterable[Configured] = (),
        excludes: Iterable[str] = (),
        secrets: Iterable[str] = (),
    ) -> None:
        """Make a decorator; mistakes in `make` are found here.

        Raises:
            TypeError: `make` has options that can't be given by name alone, or that
                its docstring doesn't mention; the name is taken or no name.
        """
        if not name.isidentifier() or name in _TAKEN:
            raise TypeError(
                f"{name!r} can't be the name of a decorator: choose another"
            )
        self.name = name
        self.make = make
        self.partners = tuple(partners)
        self.excludes = frozenset(excludes)
        self.secrets = frozenset(secrets)
        self.module = module
        self.__module__ = module
        self.__name__ = self.__qualname__ = name
        given = {partner.name for partner in self.partners}
        names, self._required = _keywords_of(name, make)
        self.options = tuple(option for option in names if option not in given)
        documented = make.__doc__ or ""
        for option in self.options:
            if option not in documented:
                raise TypeError(
                    f"option {option!r} of @{name} is not documented: describe it in "
                    f"the docstring of {make.__qualname__}"
                )
        for partner in given:
            if partner not in names:
                raise TypeError(
                    f"@{name} has the partner @{partner}, but {make.__qualname__} takes "
                    f"no keyword {partner!r} for its settings"
                )
        self.__doc__ = f"``@{name}``: {documented}"

    def settings(self, options: Mapping[str, Any]) -> Settings:
        """Check options and keep them.

        Raises:
            OptionError: one is unknown, missing, or of the wrong type or value.
        """
        return Settings(self, self._checked(options))

    def stated(self, settings: Settings) -> dict[str, object]:
        """Return the facet that the decorator states, by key."""
        return {self.name: settings}

    def _applied(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if len(args) > 1 or (args and not _decoratable(args[0])):
            raise OptionError(
                f"{self.name}() takes its options by name: "
                f"{', '.join(self.options) or 'there are none'}",
                decorator=self.name,
                option="",
            )
        settings = self.settings(options)
        fn = args[0] if args else MISSING
        return state(self.name, fn, self.stated(settings))

    def _checked(self, options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        # Imported here: not every program has such a decorator.
        from entangle._graph import option_types

        hints: dict[str, Any] = {}
        if options:
            function: Any = self.make
            if isinstance(function, type):
                function = getattr(function, "__init__")  # noqa: B009 - of any class
            hints = option_types.hints_of(function)
        plain: list[tuple[str, Any]] = []
        for name, value in sorted(options.items()):
            if name not in self.options:
                raise self._refused(name, self._unknown(name))
            hint = hints.get(name, Any)
            if not option_types.fits(value, hint):
                raise self._refused(
                    name,
                    f"{self.name}(): {name} must be {option_types.shown(hint)}, not "
                    f"{type(value).__qualname__} {self._brief(name, value)}",
                )
            try:
                plain.append((name, frozen(value)))
            except TypeError:
                raise self._refused(
                    name,
                    f"{self.name}(): {name} must be hashable, or a list, dict or set "
                    f"of what is, not {type(value).__qualname__}",
                ) from None
        for name in self._required:
            if name in self.options and name not in options:
                raise self._refused(
                    name, f"{self.name}() needs {name}=: see help({self.name})"
                )
        self._ask_author(options)
        return tuple(plain)

    def _ask_author(self, options: Mapping[str, Any]) -> None:
        """Have values checked by what the author of the options knows of them."""
        check = getattr(self.make, "check_options", None)
        if check is not None:
            try:
                check(**options)
            except (ValueError, TypeError) as error:
                raise self._refused("", f"{self.name}(): {error}") from error
            except Exception as error:
                raise self._refused("", f"{self.name}(): {one_line(error)}") from error

    def _refused(self, option: str, reason: str) -> OptionError:
        return OptionError(reason, decorator=self.name, option=option)

    def _brief(self, name: str, value: object) -> str:
        from entangle._graph import values

        return "" if name in self.secrets else values.brief(value)

    def _unknown(self, name: str) -> str:
        # Imported here: only a mistake needs it.
        from difflib import get_close_matches

        text = f"{self.name}() has no option {name!r}"
        close = get_close_matches(name, self.options, n=1)
        if close:
            return f"{text}; did you mean {close[0]!r}?"
        return f"{text}; its options are {', '.join(self.options) or 'none'}"

    def __eq__(self, other: object) -> bool:
        """Compare by what it is made of: it may have travelled by value."""
        if not isinstance(other, Configured):
            return NotImplemented
        return self is other or self._made_of() == other._made_of()

    def _made_of(self) -> dict[str, Any]:
        return {**vars(self), "make": _identity(self.make), "kind": type(self)}

    def __hash__(self) -> int:
        """Hash the names."""
        return hash((self.name, self.module))

    def __repr__(self) -> str:
        """Show the name."""
        return f"<decorator @{self.name} of {self.module}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name where the name leads back here, else by value."""
        module = sys.modules.get(self.module)
        if self.module != "__main__" and getattr(module, self.name, None) is self:
            return _found, (self.module, self.name)
        return _rebuilt, (type(self), dict(vars(self)))


def _found(module: str, name: str) -> Configured:
    found: Configured = getattr(import_module(module), name)
    return found


def _identity(make: Any) -> object:
    """Return what is equal for copies of a function; a class comes back as itself."""
    code = getattr(make, "__code__", None)
    if code is None:
        return make
    cells = [cell.cell_contents for cell in make.__closure__ or ()]
    return code, make.__kwdefaults__, cells


def _decoratable(fn: object) -> bool:
    return callable(fn) or isinstance(fn, (classmethod, staticmethod))


def _rebuilt(kind: type[Configured], state: dict[str, Any]) -> Configured:
    made = object.__new__(kind)
    vars(made).update(state)
    return made


class Typed(Configured, Generic[Q]):
    """A decorator under which calls of a function stay what they are to checkers."""

    # That options are given by name alone is not to be seen from a ParamSpec.
    @overload
    def __call__(self, fn: FlowTask[P, R], /) -> FlowTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Task[P, R], /) -> Task[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> Decorator: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function, or give the options for that."""
        return self._applied(args, kwargs)


class Context(Typed[Q]):
    """A decorator that says something to others beside it: credentials, a region."""


class Located(Configured):
    """A decorator that says where a task runs.

    Attributes:
        calls_like: The callable whose parameters the calls of a task have; None if
            they are those of its own function.
    """

    calls_like: Callable[..., Any] | None = None

    @property
    def target(self) -> Target:
        """The place, without options.

        Raises:
            OptionError: there are options that it needs.
        """
        return self.settings({})

    def settings(self, options: Mapping[str, Any]) -> Target:
        """Check options and describe the place."""
        return Target(self, self._checked(options))

    def stated(self, settings: Settings) -> dict[str, object]:
        """Return the facet: where the task runs."""
        return {"where": settings}


class Infrastructure(Located, Typed[Q]):
    """A decorator that says where a task runs, which does the work there."""


class Proxy(Located, Generic[Q, S, T]):
    """An infrastructure whose place has the work already: calls are like its own."""

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[S, T]: ...
    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> ProxyDecorator[S, T]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function, or give the options for that."""
        return self._applied(args, kwargs)


if TYPE_CHECKING:
    from typing import Protocol

    T_co = TypeVar("T_co", covariant=True)

    class ProxyDecorator(Protocol[S, T_co]):
        """A proxy's decorator with its options."""

        def __call__(self, fn: Callable[..., Any], /) -> Task[S, T_co]: ...


def _keywords_of(
    name: str, make: Callable[..., Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of all keywords that a function or class takes, and needs.

    Raises:
        TypeError: it takes anything but keywords.
    """
    function: Any = make
    own = 0
    if isinstance(make, type):
        function, own = getattr(make, "__init__"), 1  # noqa: B009 - of any class
        if function is object.__init__:
            return (), ()
    code = getattr(function, "__code__", None)
    if code is None:
        raise TypeError(f"@{name}: {make!r} is no plain function or class")
    if code.co_argcount > own or code.co_flags & (_KEYWORDS | _KEYWORDS >> 1):
        raise TypeError(
            f"@{name}: the options of {make.__qualname__} must be keyword-only "
            "parameters, without *args and **kwargs"
        )
    names = code.co_varnames[own : own + code.co_kwonlyargcount]
    defaults: dict[str, Any] = function.__kwdefaults__ or {}
    return names, tuple(each for each in names if each not in defaults)
