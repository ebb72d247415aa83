"""Whether a value fits the type that an option was declared with."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def hints_of(function: Any) -> dict[str, Any]:
    """Return the resolved annotations of a function's parameters.

    Those that name what exists for type checkers alone are left out, with all others
    of that function: Python resolves all or none.
    """
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation may be any expression
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a type; what can't be checked fits."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Union or origin is types.UnionType:
        return any(fits(value, choice) for choice in arguments)
    if origin is Literal:
        return any(value is choice or _same(value, choice) for choice in arguments)
    if origin is None:
        return _is_a(value, type(None) if hint is None else hint)
    return _is_a(value, origin) and _items_fit(value, origin, arguments)


def _same(value: object, choice: object) -> bool:
    return type(value) is type(choice) and value == choice


def _is_a(value: object, kind: Any) -> bool:
    if not isinstance(kind, type) or kind is object:
        return True
    if isinstance(value, Iterator):
        return False  # it could be looked at only once
    if kind in {int, float}:
        kinds = (int, float) if kind is float else int
        return isinstance(value, kinds) and not isinstance(value, bool)
    if isinstance(value, (str, bytes)) and kind not in {str, bytes}:
        # A string is a sequence of strings, and never meant as one.
        return issubclass(type(value), kind) and kind not in {Iterable, Sequence}
    try:
        return isinstance(value, kind)
    except TypeError:
        return True  # a protocol, say


def _items_fit(value: Any, origin: Any, arguments: Sequence[Any]) -> bool:
    if not arguments or not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping) and len(arguments) > 1:
        keys, values = arguments
        return all(fits(k, keys) and fits(v, values) for k, v in value.items())
    if issubclass(origin, tuple) and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if issubclass(origin, (Sequence, AbstractSet)) or origin is Iterable:
        return all(fits(item, arguments[0]) for item in value)
    return True


def shown(hint: Any) -> str:
    """Show a type as people write it, and of single values these."""
    if get_origin(hint) is Literal:
        *others, last = map(repr, get_args(hint))
        return f"{', '.join(others)} or {last}" if others else last
    return hint.__qualname__ if isinstance(hint, type) else str(hint)
