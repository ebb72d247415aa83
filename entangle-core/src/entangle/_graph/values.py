"""The checks of single values that options of decorators take.

Each takes what a user wrote, and gives its plain, hashable form or raises
`Refusal` with the end of a sentence that begins with the option's name.
"""

from __future__ import annotations

import math
from operator import index
from typing import TYPE_CHECKING, Any, Final, NoReturn

from entangle._graph.callables import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

_NICEST: Final = -20
_LEAST_NICE: Final = 19


class Refusal(Exception):  # noqa: N818 - never reaches a user
    """Why a value cannot be used; the caller knows for which option."""


def _refuse(reason: str) -> NoReturn:
    raise Refusal(reason)


def _kind(value: object) -> str:
    return f"{type(value).__qualname__} {brief(value)}"


def brief(value: object) -> str:
    """Show a value in the space that a line has."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - a line's rest


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, (bool, str, bytes)) or not hasattr(
        kind_of(value), "__float__"
    ):
        if hasattr(kind_of(value), "total_seconds"):
            _refuse("must be a number of seconds: use .total_seconds()")
        _refuse(f"must be a number, not {_kind(value)}")
    try:
        given = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        _refuse(f"must be a number: {error}")
    if math.isnan(given):
        _refuse("must be a number, not NaN")
    if math.isinf(given):
        _refuse("must be finite; leave it out for no limit")
    return given


def integer(value: Any) -> int:
    """An integer, of whatever type counts as an index."""
    if isinstance(value, bool) or not hasattr(kind_of(value), "__index__"):
        _refuse(f"must be an integer, not {_kind(value)}")
    try:
        return index(value)
    except TypeError as error:
        _refuse(f"must be an integer: {error}")


def duration(value: Any) -> float | None:
    """A positive number of seconds, or None for no limit."""
    if value is None:
        return None
    seconds = number(value)
    if seconds <= 0:
        _refuse(f"must be more than 0 seconds, not {value!r}")
    return seconds


def pause(value: Any) -> float:
    """A number of seconds, perhaps none."""
    seconds = number(value)
    if seconds < 0:
        _refuse(f"must not be negative, is {value!r}")
    return seconds


def factor(value: Any) -> float:
    """A factor by which something grows."""
    times = number(value)
    if times < 1:
        _refuse(f"must be at least 1, so that pauses do not shrink, not {value!r}")
    return times


def at_least(least: int) -> Callable[[Any], int]:
    """Make the check of an integer with a lower bound."""

    def check(value: Any) -> int:
        given = integer(value)
        if given < least:
            _refuse(f"must be at least {least}, not {given}")
        return given

    return check


def count(value: Any) -> int | None:
    """A positive integer, or None for no limit."""
    return None if value is None else at_least(1)(value)


def niceness(value: Any) -> int | None:
    """An increment of the niceness, or None."""
    if value is None:
        return None
    given = integer(value)
    if not _NICEST <= given <= _LEAST_NICE:
        _refuse(f"must be between {_NICEST} and {_LEAST_NICE}, not {given}")
    return given


def flag(value: Any) -> bool:
    """True or False, nothing else."""
    if not isinstance(value, bool):
        _refuse(f"must be True or False, not {_kind(value)}")
    return value


def errors(value: Any) -> tuple[type[BaseException], ...]:
    """An exception class or several."""
    several = issubclass(kind_of(value), tuple | list)
    given: tuple[Any, ...] = tuple(value) if several else (value,)
    for each in given:
        if not _is_error(each):
            _refuse(f"must name exception classes, not {_kind(each)}")
    if not given:
        _refuse("must name at least one exception class")
    # In one order, so that the same set of errors is the same option.
    kinds: set[type[BaseException]] = set(given)
    return tuple(sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)))


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def modules(value: Any) -> tuple[str, ...]:
    """Names of modules."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not hasattr(kind_of(value), "__iter__"):
        _refuse(f"must be a list of module names, not {_kind(value)}")
    names: tuple[Any, ...] = tuple(value)
    for name in names:
        if not _is_dotted(name):
            _refuse(f"must hold names of modules, not {_kind(name)}")
    return tuple(dict.fromkeys(names))


def _is_dotted(name: object) -> bool:
    return isinstance(name, str) and all(
        part.isidentifier() for part in name.split(".")
    )


def environment(value: Any) -> tuple[tuple[str, str], ...] | None:
    """Variables of the environment."""
    if value is None:
        return None
    if not (hasattr(kind_of(value), "keys") and hasattr(kind_of(value), "__getitem__")):
        _refuse(f"must be a mapping of names to values, not {_kind(value)}")
    pairs: dict[Any, Any] = dict(value)
    for name, text in pairs.items():
        if not isinstance(name, str) or not isinstance(text, str):
            _refuse(f"must map strings to strings, not {name!r} to {_kind(text)}")
        if not name or "=" in name or "\0" in name + text:
            _refuse(f"has a name or value that no environment can hold: {name!r}")
    return tuple(sorted(pairs.items()))


def directory(value: Any) -> str | None:
    """The path of a directory, or None."""
    if value is None:
        return None
    # os is loaded by every Python; its import here only binds the name.
    import os

    try:
        path = os.fsdecode(value)
    except TypeError:
        _refuse(f"must be a path, not {_kind(value)}")
    if not path or "\0" in path:
        _refuse(f"must be the path of a directory, not {path!r}")
    return path


def caching(value: Any) -> bool | str:
    """True, False or ``'run'``."""
    if isinstance(value, bool):
        return value
    if type(value) is not str or value != "run":
        _refuse(f"must be True, False or 'run', not {_kind(value)}")
    return "run"


def version(value: Any) -> str | int | None:
    """A string, an integer or None."""
    if value is None:
        return None
    if type(value) is not str and type(value) is not int:
        _refuse(f"must be a string or an integer, not {_kind(value)}")
    given: str | int = value
    return given


def function(value: Any) -> object:
    """A callable that can be hashed, or None."""
    if value is None:
        return None
    if not callable(value):
        _refuse(f"must be a function, not {_kind(value)}")
    try:
        hash(value)
    except TypeError:
        _refuse(f"must be hashable, as functions are, not {_kind(value)}")
    return value


def names(value: Any) -> tuple[str, ...]:
    """Names of parameters or globals, the latter perhaps of a module."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not hasattr(kind_of(value), "__iter__"):
        _refuse(f"must be a list of names, not {_kind(value)}")
    given: tuple[Any, ...] = tuple(value)
    for name in given:
        if not _is_dotted(name):
            _refuse(f"must hold names, not {_kind(name)}")
    # In one order, so that the same names are the same option.
    return tuple(sorted(set(given)))


def executor(value: object) -> object:
    """The name of an executor, a target, an executor object, or None."""
    if value is None:
        return None
    if isinstance(value, str):
        # Which names there are is for plugins to say, which are not loaded yet.
        if not value.isidentifier():
            _refuse(f"must be the name of an executor, not {value!r}")
        return value
    target = getattr(value, "target", None)
    if kind_of(value).__module__.startswith("entangle._graph.") and target is not None:
        return target  # a decorator of an infrastructure
    # Imported here: only who gives an executor needs it.
    from concurrent.futures import Executor

    if not isinstance(value, Executor):
        if isinstance(value, type) and issubclass(value, Executor):
            _refuse(f"must be an executor, not its class {value.__qualname__}: call it")
        _refuse(
            "must be the name of an executor, a target such as docker(image=...), or "
            "a concurrent.futures.Executor"
        )
    return value


def callback(value: object) -> object:
    """Anything callable, or None."""
    if value is not None and not callable(value):
        _refuse(f"must be a function that takes two arguments, not {_kind(value)}")
    try:
        hash(value)
    except TypeError:
        _refuse(f"must be hashable, which {_kind(value)} is not: give a plain function")
    return value


def implementation(value: object) -> object:
    """A class that chooses CPUs, its dotted path, or None."""
    if value is None:
        return None
    if isinstance(value, str):
        if "." not in value or not _is_dotted(value):
            _refuse(f"must be the dotted path of a class, not {value!r}")
        return value
    if not callable(getattr(value, "choose", None)):
        _refuse(
            "must be a class with a method choose(free), or its dotted path, "
            f"not {_kind(value)}"
        )
    if not isinstance(value, type):
        _refuse(f"must be a class, not an object of it: {_kind(value)}")
    return value
