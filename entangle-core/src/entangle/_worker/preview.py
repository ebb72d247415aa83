"""A value in a few words.

Made of exactly the types that Python brings, and of the shapes of arrays and tables:
nothing of the user's is called, whose `repr` may take long, fail or tell a secret.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 80  # characters
_ATOMS = frozenset((type(None), bool, int, float, complex))
_TEXTS = frozenset((str, bytes, bytearray))
_SEVERAL = frozenset((list, tuple, set, frozenset, dict))
_SHORT = 8  # items that are shown
_MOST_BITS = 256  # of an integer that is written out
# Whose types say by attributes what they hold, without computing anything.
_ARRAYS = frozenset(("numpy", "pandas", "torch", "polars", "cupy", "jax"))


def preview(value: Any) -> str:
    """Return a value in a few words, in at most `MOST` characters."""
    try:
        text = _shown(value, 0)
        return text if len(text) <= MOST else _summary(value)
    except Exception:  # noqa: BLE001 - it is being changed by another thread, say
        return _name(_kind(value))


def _shown(value: Any, depth: int) -> str:
    kind = _kind(value)
    if kind is int and value.bit_length() > _MOST_BITS:
        return f"int of {value.bit_length()} bits"
    if kind in _ATOMS or (kind in _TEXTS and len(value) <= MOST):
        return repr(value)
    if kind in _SEVERAL and len(value) <= _SHORT and not depth:
        return _together(value, kind)
    return _summary(value)


def _together(value: Any, kind: type[object]) -> str:
    """Show what holds few values."""
    if kind is dict:
        pairs = [f"{_shown(k, 1)}: {_shown(v, 1)}" for k, v in value.items()]
        return "{" + ", ".join(pairs) + "}"
    items = ", ".join([_shown(each, 1) for each in value])
    if kind is tuple:
        return f"({items},)" if len(value) == 1 else f"({items})"
    if kind is list:
        return f"[{items}]"
    inner = "{" + items + "}" if items else ""
    return inner if kind is set and inner else f"{kind.__name__}({inner})"


def _summary(value: Any) -> str:
    kind = _kind(value)
    name = _name(kind)
    if kind in _TEXTS:
        unit = "characters" if kind is str else "bytes"
        return f"{name} of {len(value):,} {unit}"
    if kind in _SEVERAL:
        return f"{name} of {len(value):,}"
    if kind.__module__.partition(".")[0] in _ARRAYS:
        shape: object = getattr(value, "shape", None)
        if shape == () and kind.__module__ == "numpy":
            return repr(value)[:MOST]
        if isinstance(shape, tuple):
            dtype = getattr(value, "dtype", None)
            sort = "" if dtype is None else f" {str(dtype)[:24]}"
            return f"{name}{sort} ({_lengths(shape)})"[:MOST]
    return name


def _lengths(shape: Any) -> str:
    return ", ".join(map(str, shape))


def _kind(value: object) -> type[object]:
    return type(value)


def _name(kind: type[object]) -> str:
    return kind.__qualname__.rpartition("<locals>.")[2][:MOST]
