"""Values as people are shown them: short, safe, whatever they do when they are asked."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from entangle._clean import one_line
from entangle._graph.callables import kind_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WIDTH: Final = 60  # columns
PATIENCE: Final = 0.5  # seconds that a repr may take

_ITEMS: Final = 6
_DEPTH: Final = 2
_BITS: Final = 128
_BRACKETS: Final[dict[Any, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    dict: ("{", "}"),
}
_FUNCTIONS: Final = (FunctionType, BuiltinFunctionType, MethodType)
# Whose repr has taken too long once; asking again would take as long.
_hanging: Final[WeakSet[type]] = WeakSet()
_PLAIN: Final = frozenset({bool, float, complex, type(None), type(...)})


def shown(value: object, most: int = WIDTH) -> str:
    """Show a value in one line: by its repr, or by type and shape where it has one.

    Never raises, and never takes long: of large values only a part is looked at, and a
    ``__repr__`` of somebody else's that raises or hangs is left.

    Args:
        value: Anything.
        most: How many columns there are for it.
    """
    return one_line(_shown(value, 0, most), most)


def _shown(value: Any, depth: int, most: int) -> str:
    kind = kind_of(value)
    if kind in _PLAIN:
        return repr(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits < _BITS else f"<int of {bits:,} bits>"
    if kind is str or kind is bytes:
        return _text(value, most)
    if kind in _BRACKETS:
        return _container(value, depth, most)
    text = None if kind in _hanging else guarded(lambda: _other(value))
    if text is None and not _of_python(kind):
        _hanging.add(kind)
    return text or f"<{kind.__name__}: its repr takes too long>"


def _of_python(kind: type) -> bool:
    """Tell whether a class came with Python: what it holds is at fault, then."""
    return str(kind.__module__).partition(".")[0] in sys.stdlib_module_names


def _text(value: str | bytes, most: int) -> str:
    if len(value) <= most:
        return repr(value)
    unit = "characters" if isinstance(value, str) else "bytes"
    size = f"… ({len(value):,} {unit})"
    return repr(value[: max(most - len(size) - 3, 1)]) + size


def _container(value: Any, depth: int, most: int) -> str:
    kind = kind_of(value)
    opening, closing = _BRACKETS[kind]
    if kind is set and not value:
        return "set()"
    if value and depth >= _DEPTH:
        return f"{opening}…{closing}"
    parts = list(_items(value, depth, most))
    left = len(value) - len(parts)
    if left:
        parts.append("…")
    elif kind is tuple and len(parts) == 1:
        parts.append("")
    text = ", ".join(parts).rstrip()
    return f"{opening}{text}{closing}" + (f" ({len(value):,} items)" if left else "")


def _items(value: Any, depth: int, most: int) -> Iterable[str]:
    from itertools import islice

    # Another thread may change it meanwhile.
    try:
        if kind_of(value) is not dict:
            first: list[Any] = list(islice(value, _ITEMS))
            return [_shown(each, depth + 1, most // 2) for each in first]
        pairs: list[tuple[Any, Any]] = list(islice(value.items(), _ITEMS))
    except RuntimeError:
        return []
    return [
        ": ".join(_shown(each, depth + 1, most // 2) for each in pair) for pair in pairs
    ]


def _other(value: Any) -> str:
    """Show an object; what it does then is not ours to say."""
    kind = kind_of(value)
    if isinstance(value, (type, *_FUNCTIONS)):
        return name_of(value)
    shape = getattr(value, "shape", None)
    if kind_of(shape) is tuple and shape:
        dtype = getattr(value, "dtype", "")
        return " ".join(filter(None, (kind.__name__, str(dtype), repr(shape))))
    if kind.__repr__ is object.__repr__:
        # An address says nothing, and differs each time.
        return f"<{kind.__qualname__} object>"
    return repr(value)


def guarded(show: Callable[[], str], what: str = "a value whose repr") -> str | None:
    """Call what may raise, hang, or return what is no text.

    Args:
        show: Called in a thread of its own, which is ended as far as it can be when
            half a second is over.
        what: Whose fault it is if it raises.

    Returns:
        The text, or what it has raised; None if it takes too long.
    """
    # Imported here: most programs show nothing.
    from threading import Thread

    result: list[str] = []

    def attempt() -> None:
        try:
            result.append(_checked(show()))
        except BaseException as error:  # noqa: BLE001 - somebody else's code
            result.append(f"<{what} raises {kind_of(error).__name__}>")

    thread = Thread(target=attempt, name="entangle-show", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if result:
        return result[0]
    if thread.is_alive():
        _end(thread.ident)
    return None


def _checked(text: str) -> str:
    # A class may give an instance of its own, whose methods are its own too.
    return str.__str__(text)


def _end(thread: int | None) -> None:
    """Have a thread that runs Python code raise."""
    import ctypes

    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    raise_in(ctypes.c_ulong(thread or 0), ctypes.py_object(SystemExit))
