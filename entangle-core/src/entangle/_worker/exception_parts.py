"""What an exception object consists of, whatever its class does to hide it.

Read and written through the descriptors of the built-in classes, so that no code of
the exception's own class runs.
"""

from __future__ import annotations

import builtins
from types import GetSetDescriptorType, MemberDescriptorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HEAP_TYPE = 1 << 9  # made by a class statement, or by C code that says so

_base = vars(BaseException)
cause_of: Any = _base["__cause__"].__get__
context_of: Any = _base["__context__"].__get__
traceback_of: Any = _base["__traceback__"].__get__
suppressed_in: Any = _base["__suppress_context__"].__get__
arguments_of: Any = _base["args"].__get__
attributes_of: Any = _base["__dict__"].__get__
# Not in Python 3.9 and 3.10: of no instance then.
Group: Any = getattr(builtins, "BaseExceptionGroup", ())


def link(
    error: BaseException,
    cause: BaseException | None,
    context: BaseException | None,
    *,
    suppressed: bool,
) -> None:
    """Set what an exception was raised from, and while what was handled."""
    _base["__cause__"].__set__(error, cause)
    _base["__context__"].__set__(error, context)
    _base["__suppress_context__"].__set__(error, suppressed)


def builtin_base(cls: type) -> type | None:
    """Return the built-in exception whose object layout `cls` has.

    None where C code of an extension adds to the layout, or makes the objects.
    """
    for base in cls.__mro__:
        if not base.__flags__ & _HEAP_TYPE:
            if base.__module__ != "builtins":
                return None
            break
    else:  # pragma: no cover - every class has `object` at its end
        return None
    extra = (Group,) if Group and issubclass(cls, Group) else ()
    try:
        # Refuses if another C type's constructor is the one to call.
        base.__new__(cls, *(("", [ValueError()]) if extra else ()))
    except TypeError:
        return None
    return base


def members_of(error: BaseException, base: type) -> Iterator[tuple[str, Any]]:
    """Yield what the built-in base keeps outside of the attributes."""
    for cls in base.__mro__:
        if cls is BaseException:
            return
        if cls is Group:
            continue  # set when it is made
        for name, member in vars(cls).items():
            # `obj` would take along the object that lacks an attribute.
            if name == "obj" or name.startswith("__"):
                continue
            if type(member) in {MemberDescriptorType, GetSetDescriptorType}:
                try:
                    value = member.__get__(error)
                except AttributeError:  # not set
                    continue
                if value is not None:
                    yield name, value


def slots_of(error: BaseException) -> Iterator[tuple[str, Any]]:
    """Yield what the class keeps in slots."""
    seen: set[str] = set()
    for cls in type(error).__mro__:
        if not cls.__flags__ & _HEAP_TYPE:
            continue
        for name, member in vars(cls).items():
            if type(member) is MemberDescriptorType and name not in seen:
                seen.add(name)
                try:
                    yield name, member.__get__(error)
                except AttributeError:  # not set
                    continue


def _found(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    raise AttributeError(name)


def restore(
    error: BaseException,
    base: type,
    arguments: Any,
    members: dict[str, Any],
    slots: dict[str, Any],
    attributes: dict[str, Any],
) -> None:
    """Put everything into a new exception that `builtin_base` made."""
    _base["args"].__set__(error, arguments)
    for name, value in members.items():
        try:
            _found(base, name).__set__(error, value)
        except (AttributeError, TypeError):  # read-only, or of another Python
            continue
    for name, value in slots.items():
        _found(type(error), name).__set__(error, value)
    attributes_of(error).update(attributes)
