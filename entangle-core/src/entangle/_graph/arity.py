"""Which arguments a call may have.

A call is checked where it is written, long before it runs, so the check must be as
cheap as the call: how many positional arguments fit is known beforehand, and
shapes of calls with keywords are remembered once they have passed.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any, Final, NamedTuple

_VARARGS: Final = 0x04
_VARKEYWORDS: Final = 0x08
# Remembered shapes of one task; more only come from generated keywords.
_SHAPES: Final = 64


class Parameters(NamedTuple):
    """The parameters of a callable.

    Attributes:
        positional: The names that take positional arguments, in order.
        only: How many of them take nothing else.
        optional: How many of them, from the end, have defaults.
        keywords: The keyword-only names, in order.
        required: Those of them that have no default.
        more: Whether any further positional arguments are taken.
        extra: Whether any further keywords are taken.
    """

    positional: tuple[str, ...]
    only: int
    optional: int
    keywords: tuple[str, ...]
    required: tuple[str, ...]
    more: bool
    extra: bool


def parameters_of(fn: Any) -> Parameters | None:
    """Read the parameters of a callable; None if they are unknown."""
    if type(fn) is FunctionType:
        return _of_function(fn)
    return _of_callable(fn)


def _of_function(fn: FunctionType) -> Parameters:
    code = fn.__code__
    count = code.co_argcount
    keywords = code.co_varnames[count : count + code.co_kwonlyargcount]
    defaults = fn.__kwdefaults__ or {}
    return Parameters(
        positional=code.co_varnames[:count],
        only=code.co_posonlyargcount,
        optional=len(fn.__defaults__ or ()),
        keywords=keywords,
        required=tuple(name for name in keywords if name not in defaults),
        more=bool(code.co_flags & _VARARGS),
        extra=bool(code.co_flags & _VARKEYWORDS),
    )


def _of_callable(fn: Any) -> Parameters | None:
    # Imported here: plain functions, by far the most, do without it.
    import inspect

    try:
        signature = inspect.signature(fn, follow_wrapped=False)
    except (ValueError, TypeError):
        return None
    parameters = signature.parameters.values()
    kinds = inspect.Parameter
    positional = [
        each
        for each in parameters
        if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    keywords = [each for each in parameters if each.kind is kinds.KEYWORD_ONLY]
    return Parameters(
        positional=tuple(each.name for each in positional),
        only=sum(each.kind is kinds.POSITIONAL_ONLY for each in positional),
        optional=sum(each.default is not each.empty for each in positional),
        keywords=tuple(each.name for each in keywords),
        required=tuple(each.name for each in keywords if each.default is each.empty),
        more=any(each.kind is kinds.VAR_POSITIONAL for each in parameters),
        extra=any(each.kind is kinds.VAR_KEYWORD for each in parameters),
    )


class Arity:
    """The check of the calls of one callable.

    Attributes:
        low: How many positional arguments a call without keywords needs.
        high: How many it may have. Below `low` if no such call can fit.
    """

    __slots__ = ("_name", "_parameters", "_shapes", "high", "low")

    def __init__(self, fn: object, name: str, given: tuple[str, ...] = ()) -> None:
        """Read the parameters of `fn`.

        Args:
            fn: The callable.
            name: What errors call it.
            given: The keywords that are not the caller's to give.
        """
        self._name = name
        self._shapes: set[tuple[object, ...]] = set()
        self._parameters = parameters = parameters_of(fn)
        if given and parameters is not None:
            self._parameters = parameters = _without(parameters, given)
        self.low = 0
        self.high = sys.maxsize
        if parameters is None:
            return
        if parameters.required:
            self.low, self.high = 1, 0
            return
        self.low = len(parameters.positional) - parameters.optional
        if not parameters.more:
            self.high = len(parameters.positional)

    def check(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Check a call.

        Args:
            args: The positional arguments; their values do not matter.
            kwargs: The keyword arguments; only their names matter.

        Raises:
            TypeError: As Python itself, if the arguments do not fit.
        """
        parameters = self._parameters
        if parameters is None:
            return
        shape = (len(args), *kwargs)
        if shape in self._shapes:
            return
        problem = _problem(parameters, len(args), kwargs)
        if problem is not None:
            message = f"{self._name}() {problem}"
            raise TypeError(message)
        if len(self._shapes) < _SHAPES:
            self._shapes.add(shape)


def _without(parameters: Parameters, given: tuple[str, ...]) -> Parameters:
    """Leave out keywords; those that are also positional come last."""
    positional = tuple(each for each in parameters.positional if each not in given)
    gone = len(parameters.positional) - len(positional)
    return parameters._replace(
        positional=positional,
        optional=max(0, parameters.optional - gone),
        keywords=tuple(each for each in parameters.keywords if each not in given),
        required=tuple(each for each in parameters.required if each not in given),
    )


def lacks(fn: object, names: tuple[str, ...]) -> str:
    """Say why a callable can't be given some keywords; nothing if it can."""
    parameters = parameters_of(fn)
    if parameters is None:
        return ""
    positional = parameters.positional
    last = positional[max(parameters.only, len(positional) - len(names)) :]
    for name in names:
        if name in positional and name not in last:
            return f"{name!r} must come after the parameters that its callers give"
        if name not in (*positional, *parameters.keywords) and not parameters.extra:
            return f"it takes no keyword {name!r}"
    return ""


def _problem(
    parameters: Parameters, count: int, kwargs: dict[str, object]
) -> str | None:
    """Say why arguments do not fit, in the order in which Python looks."""
    problem = _wrong_keyword(parameters, count, kwargs)
    if problem is not None:
        return problem
    positional = parameters.positional
    if count > len(positional) and not parameters.more:
        return _too_many(parameters, count, kwargs)
    needed = positional[count : len(positional) - parameters.optional]
    missing = [
        name
        for place, name in enumerate(needed, count)
        if place < parameters.only or name not in kwargs
    ]
    if missing:
        return _missing(missing, "positional")
    missing = [name for name in parameters.required if name not in kwargs]
    return _missing(missing, "keyword-only") if missing else None


def _wrong_keyword(
    parameters: Parameters, count: int, kwargs: dict[str, object]
) -> str | None:
    positional = parameters.positional
    for name in kwargs:
        if name in positional[parameters.only :]:
            if name in positional[:count]:
                return f"got multiple values for argument {name!r}"
        elif name not in parameters.keywords and not parameters.extra:
            hidden = [each for each in positional[: parameters.only] if each in kwargs]
            if not hidden:
                return f"got an unexpected keyword argument {name!r}"
            return (
                "got some positional-only arguments passed as keyword arguments: "
                f"'{', '.join(hidden)}'"
            )
    return None


def _too_many(parameters: Parameters, count: int, kwargs: dict[str, object]) -> str:
    most = len(parameters.positional)
    takes = f"from {most - parameters.optional} to {most}"
    if not parameters.optional:
        takes = str(most)
    plural = "s" if parameters.optional or most != 1 else ""
    given = f"{count} {'was' if count == 1 else 'were'} given"
    keywords = sum(name in kwargs for name in parameters.keywords)
    if keywords:
        given = (
            f"{count} positional argument{'s' if count != 1 else ''} (and {keywords} "
            f"keyword-only argument{'s' if keywords != 1 else ''}) were given"
        )
    return f"takes {takes} positional argument{plural} but {given}"


def _missing(names: list[str], kind: str) -> str:
    shown = [repr(name) for name in names]
    if len(shown) == 1:
        listed = shown[0]
    elif len(shown) == 2:  # noqa: PLR2004 - two have no comma
        listed = f"{shown[0]} and {shown[1]}"
    else:
        listed = f"{', '.join(shown[:-1])}, and {shown[-1]}"
    plural = "s" if len(names) != 1 else ""
    return f"missing {len(names)} required {kind} argument{plural}: {listed}"
