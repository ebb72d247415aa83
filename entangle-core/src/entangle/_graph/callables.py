"""What a callable is: its name, its kind, whether it binds an instance.

Reads flags of code objects instead of importing `inspect`, which costs more than
the rest of this package together.
"""

from __future__ import annotations

from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# The type of what a user gave: whatever it is, checkers need not follow.
kind_of: Final[Callable[[object], type[object]]] = type

_GENERATOR: Final = 0x20
_COROUTINE: Final = 0x80
_ITERABLE_COROUTINE: Final = 0x100
_ASYNC_GENERATOR: Final = 0x200
# A longer chain is a callable object that refers to itself.
_LONGEST: Final = 1000


def innermost(fn: object) -> object:
    """Follow partials, methods and callable objects to the function they call."""
    for _ in range(_LONGEST):
        if type(fn) is FunctionType:
            return fn
        if isinstance(fn, partial):
            fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        elif isinstance(fn, type):
            return fn
        else:
            call = getattr(type(fn), "__call__", None)  # noqa: B004 - the function is wanted, not the answer
            if type(call) is not FunctionType:
                return fn
            fn = call
    return fn


def _flags(fn: object) -> int:
    code = getattr(innermost(fn), "__code__", None)
    return code.co_flags if isinstance(code, CodeType) else 0


def is_generator(fn: object) -> bool:
    """Tell whether calling `fn` gives a generator or an asynchronous generator."""
    flags = _flags(fn)
    return bool(flags & (_GENERATOR | _ASYNC_GENERATOR)) and not (
        flags & _ITERABLE_COROUTINE
    )


def is_async(fn: object) -> bool:
    """Tell whether calling `fn` gives a coroutine."""
    if _flags(fn) & (_COROUTINE | _ITERABLE_COROUTINE):
        return True
    # What `inspect.markcoroutinefunction` leaves behind (Python 3.12).
    return any(
        getattr(each, "_is_coroutine_marker", None) is not None
        for each in (fn, innermost(fn))
    )


def binds(fn: object) -> bool:
    """Tell whether `fn`, found on a class, takes the instance as first argument."""
    return hasattr(type(fn), "__get__") and not isinstance(fn, (MethodType, type))


def is_wrapped_method(fn: object) -> bool:
    """Tell whether `fn` is a classmethod or staticmethod."""
    return isinstance(fn, classmethod | staticmethod)


def name_of(fn: Any) -> str:
    """Give the qualified name that errors and displays call `fn` by."""
    if isinstance(fn, partial):
        return name_of(fn.func)  # pyright: ignore[reportUnknownMemberType]
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__qualname__


def short(name: str) -> str:
    """Shorten a qualified name by where the function is defined."""
    return name.rpartition("<locals>.")[2]


def module_of(fn: object) -> str:
    """Give the name of the module that `fn` was made in."""
    module = getattr(fn, "__module__", None)
    return module if isinstance(module, str) else type(fn).__module__
