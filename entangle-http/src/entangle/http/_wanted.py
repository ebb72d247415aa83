"""What a function wants of a response: by ``as_=``, or its parameter's annotation."""

from __future__ import annotations

import collections.abc
import pathlib
import types
import typing
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: Final = ("text", "bytes", "json", "response", "file", "chunks")

# Values that end with the request: they can't go anywhere.
BOUND: Final = frozenset({"file", "chunks"})

_PLAIN: Final[dict[object, str]] = {
    str: "text",
    Any: "text",
    object: "text",
    bytes: "bytes",
    pathlib.Path: "file",
    pathlib.PurePath: "file",
    **dict.fromkeys((dict, list, int, float, bool), "json"),
    collections.abc.Mapping: "json",
    collections.abc.MutableMapping: "json",
    collections.abc.Sequence: "json",
    collections.abc.Iterator: "chunks",
    collections.abc.Iterable: "chunks",
    collections.abc.Generator: "chunks",
}
# Of annotations that can't be resolved, for want of an import: by their last name.
_NAMED: Final = {
    "str": "text",
    "bytes": "bytes",
    "Path": "file",
    "Response": "response",
    "Iterator": "chunks",
    "Iterable": "chunks",
    **dict.fromkeys(("dict", "list", "Mapping", "Sequence", "int", "float"), "json"),
}


def wanted(function: Callable[..., Any], as_: str | None) -> str:
    """Return which of `KINDS` a function is to be called with.

    Raises:
        TypeError: Its annotation says nothing that is known here.
    """
    if as_ is not None:
        return as_
    hint = _annotation(function)
    if hint is None:
        return "text"
    kind = _kind(hint)
    if kind is None:
        shown = hint if isinstance(hint, str) else getattr(hint, "__qualname__", hint)
        raise TypeError(
            f"its annotation {shown} does not say what is wanted of the response: "
            f"add as_= one of {', '.join(map(repr, KINDS))}"
        )
    return kind


def _annotation(function: Callable[..., Any]) -> Any:
    """Return the annotation of the parameter that takes the response; None for none."""
    code: Any = getattr(function, "__code__", None)
    raw: dict[str, Any] = getattr(function, "__annotations__", {})
    if not isinstance(code, types.CodeType):
        return None
    names = code.co_varnames[: code.co_argcount]
    defaults: Any = getattr(function, "__defaults__", None)
    # As core has it: the last one that is needed.
    needed = names[: len(names) - len(defaults or ())] or names[:1]
    if not needed or needed[-1] not in raw:
        return None
    hint = raw[needed[-1]]
    if isinstance(hint, str):
        # This one alone: others may name what exists for type checkers only.
        lookup = types.SimpleNamespace(__annotations__={"wanted": hint})
        names_there: dict[str, Any] = getattr(function, "__globals__", {})
        try:
            hint = typing.get_type_hints(lookup, names_there)["wanted"]
        except Exception:  # noqa: BLE001 - an annotation may be any expression
            return hint
    return hint


def _kind(hint: Any) -> str | None:
    if isinstance(hint, str):
        last = hint.partition("[")[0].strip().rpartition(".")[2]
        return _NAMED.get(last)
    origin = typing.get_origin(hint)
    given = typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        kinds = {_kind(each) for each in given if each is not type(None)}
        return kinds.pop() if len(kinds) == 1 else None
    if origin is typing.Annotated:
        return _kind(given[0])
    found = _PLAIN.get(origin or hint)
    if found == "chunks" and given and given[0] is not bytes:
        return None
    return found or _of_class(hint)


def _of_class(hint: Any) -> str | None:
    if typing.is_typeddict(hint):
        return "json"
    module = getattr(hint, "__module__", "")
    if getattr(hint, "__name__", "") == "Response" and module.startswith("requests."):
        return "response"
    return None
