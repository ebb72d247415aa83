"""The key of a call: what its value depends on, as twenty bytes.

Code with all that it reaches, arguments by the parameters that take them, the place and
the environment that the task states, Python's minor version. How and where else it runs
doesn't count.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.target import Settings
from entangle.errors import CacheKeyError

from .definitions import Definitions, digest_of
from .tokens import Tokens, UnkeyableError, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from entangle._graph.task import Task

# Grows when keys are made differently.
_EDITION: Final = b"entangle-1"
_VARARGS: Final = 0x04
_VARKEYWORDS: Final = 0x08
_DEFINITIONS: Final = Definitions()


def of_task(task: Task[..., Any]) -> bytes:
    """Return the part of the key that all calls of a task share at this moment.

    Raises:
        CacheKeyError: something that the function reaches can't be part of a key.
        OptionError: ``cache_ignore`` names what is not there.
    """
    options = task.options
    # Without its assertions and `__debug__` a function may give another value.
    python = f"{sys.implementation.cache_tag} {bool(sys.flags.optimize)}"
    parts = [_EDITION, python.encode()]
    try:
        parts.append(_of_callable(task.fn, options.cache_ignore))
        if options.cache_key is not None:
            parts.append(_of_callable(options.cache_key, ()))
        places = _said(options.executor), _said(options.source)
        stated = (options.version, options.env, options.cwd, *places)
        parts.append(Tokens(_DEFINITIONS).of(stated))
    except UnkeyableError as error:
        raise _refused(error, task.name) from error
    return digest(*parts)


def _of_callable(function: Any, ignored: tuple[str, ...]) -> bytes:
    if isinstance(function, FunctionType):
        return digest_of(function, ignored)
    return Tokens(_DEFINITIONS).part("function", function)


def _said(said: object) -> object:
    """Return what is said of a place or a source, which may make a value another."""
    if not isinstance(said, Settings):
        return None
    secret = said.of.secrets
    return (
        said.of.module,
        said.of.name,
        sorted(
            (name, value)
            for name, value in said.arguments().items()
            if name not in secret
        ),
    )


def of_call(
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    shared: bytes,
) -> bytes:
    """Return the key of a call.

    Args:
        task: What is called.
        args: The positional arguments, as objects or as `Known`.
        kwargs: The keyword arguments likewise.
        shared: What `of_task` has returned.

    Raises:
        CacheKeyError: an argument can't be part of a key, or ``cache_key`` failed.
    """
    options = task.options
    if options.cache_key is not None:
        values = [("cache_key", _asked(task, options.cache_key, args, kwargs))]
    else:
        values = list(bound(task.body, args, kwargs or {}))
    return digest(shared, *_tokens(values, options.cache_ignore, task.name))


def check(task: Task[..., Any], values: Iterable[tuple[str, Any]]) -> None:
    """Refuse plain arguments that can't be part of a key.

    Args:
        task: What is called.
        values: Arguments, with what to call them.

    Raises:
        CacheKeyError: one can't.
    """
    _tokens(values, task.options.cache_ignore, task.name)


def _tokens(
    values: Iterable[tuple[str, Any]], ignored: tuple[str, ...], task: str
) -> list[bytes]:
    tokens = Tokens(_DEFINITIONS)
    found: list[bytes] = []
    label = ""
    try:
        for name, value in values:
            if name in ignored:
                continue
            label = f"argument {name!r}"
            found.append(name.encode())
            found.append(tokens.of(value))
    except UnkeyableError as error:
        error.within(label)
        raise _refused(error, task) from error
    return found


def _asked(
    task: Task[..., Any],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
) -> Any:
    try:
        return function(*args, **(kwargs or {}))
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        raise CacheKeyError(
            path="what cache_key gives",
            reason=f"{name} raised {type(error).__name__}: {error}",
            node=task.name,
        ) from error


def _refused(error: UnkeyableError, task: str) -> CacheKeyError:
    path = error.path.lstrip(", ") or "its function"
    return CacheKeyError(path=path, reason=error.reason, node=task)


def bound(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield arguments by the names of the parameters, however they were given."""
    if not isinstance(function, FunctionType):
        yield from ((f"{place}", value) for place, value in enumerate(args))
        yield from sorted(kwargs.items())
        return
    code = function.__code__
    count = code.co_argcount
    only = code.co_varnames[: code.co_posonlyargcount]
    keywords = code.co_kwonlyargcount
    yield from _all_bound(function, args, kwargs)
    after = count + keywords
    if code.co_flags & _VARARGS:
        yield code.co_varnames[after], args[count:]
        after += 1
    if code.co_flags & _VARKEYWORDS:
        named = frozenset(code.co_varnames[len(only) : count + keywords])
        more = {name: value for name, value in kwargs.items() if name not in named}
        yield code.co_varnames[after], more


def _all_bound(
    function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the values of all named parameters, defaults among them."""
    code = function.__code__
    count = code.co_argcount
    names = code.co_varnames[:count]
    defaults = function.__defaults__ or ()
    first = count - len(defaults)
    for place, name in enumerate(names):
        if place < len(args):
            yield name, args[place]
        elif name in kwargs and place >= code.co_posonlyargcount:
            yield name, kwargs[name]
        elif place >= first:
            yield name, defaults[place - first]
    own = function.__kwdefaults__ or {}
    for name in code.co_varnames[count : count + code.co_kwonlyargcount]:
        yield name, kwargs[name] if name in kwargs else own.get(name)
