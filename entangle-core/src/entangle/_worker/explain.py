"""Where in a value lies what does not pickle."""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import copyreg
import time
from itertools import islice
from types import CellType, FunctionType, MethodType, ModuleType

from . import references
from .codec import ATOMS, LARGEST_GLOBALS, EncodeError, Pickler, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Child = tuple[str, Any]

_DEEPEST = 100
_MOST_CHILDREN = 1_000_000
_LONGEST_KEY = 60
_TIME_S = 2.0
_PLAIN_STATE = 2


def explain(
    value: Any, name: str = "value", error: BaseException | None = None
) -> tuple[str, str]:
    """Find what in `value` does not pickle.

    Tries parts of the value, at most for about two seconds; never raises.

    Args:
        value: What could not be pickled.
        name: What to call it in the path.
        error: What pickling it raised, if it was tried.

    Returns:
        The path, like ``argument 'conf'.handlers[0].lock``, and the reason.
    """
    path = name or "value"
    try:
        deadline = time.monotonic() + _TIME_S
        if error is None:
            error = attempt(value)
        if error is None:
            return path, "nothing is wrong with it"
        path, error = _descend(value, name, error, deadline)
    except Exception as trouble:  # noqa: BLE001 - user code, of any depth
        error = error or trouble
    if isinstance(error, EncodeError):
        return join(path.lstrip(", ."), error.path), error.reason
    return path.lstrip(", .") or "value", describe(error)


def _descend(
    value: Any, path: str, error: BaseException, deadline: float
) -> tuple[str, BaseException]:
    # Holds the parts on the way, which a reducer may have made for us alone.
    above = [value]
    while len(above) < _DEEPEST and not isinstance(error, RecursionError):
        found = _first_failing(children(value), above, deadline)
        if found is None:
            break
        (label, value), error = found
        above.append(value)
        path = label if not path else path + label
    return path, error


def _first_failing(
    parts: Iterator[Child], above: list[Any], deadline: float
) -> tuple[Child, BaseException] | None:
    """Return the first part that fails on its own, and how."""
    known = {id(part) for part in above}
    left: list[Child] = []
    try:
        for label, part in islice(parts, _MOST_CHILDREN):
            if type(part) not in ATOMS and id(part) not in known:
                left.append((label, part))
    except Exception:  # noqa: BLE001, S110 - user-written reducers
        pass
    # Halving: the whole is pickled about twice, however many parts there are.
    width = len(left)
    start = 0
    while start < len(left) and time.monotonic() < deadline:
        chunk = left[start : start + width]
        error = attempt([part for _, part in chunk])
        if error is None:
            start += width
        elif width == 1:
            # Alone, not in a list: nobody needs to read of that list.
            return chunk[0], attempt(chunk[0][1]) or error
        width = max(1, width // 2)
    return None


class _Nowhere:
    """A file that keeps nothing, but counts."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        length = memoryview(data).nbytes
        self.size += length
        return length


def attempt(value: Any) -> BaseException | None:
    """Pickle `value` to nowhere; return what went wrong."""
    try:
        _measured(value)
    except Exception as error:  # noqa: BLE001 - that is the question
        return error
    return None


def _measured(value: Any) -> int:
    file = _Nowhere()
    buffers = 0

    def count(buffer: Any) -> None:
        nonlocal buffers
        buffers += buffer.raw().nbytes

    Pickler(file, buffer_callback=count).dump(value)
    return file.size + buffers


def join(path: str, more: str) -> str:
    """Append one path to another."""
    return f"{path}, {more}" if path and more else path or more


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user-written __repr__
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_KEY else text[: _LONGEST_KEY - 3] + "..."


def children(value: Any) -> Iterator[Child]:  # noqa: C901 - one branch for each kind
    """Yield the labelled parts that pickling `value` pickles."""
    kind: type[Any] = type(value)
    if kind is dict:
        yield from _items(value.items())
    elif kind is list or kind is tuple:
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif kind is set or kind is frozenset:
        yield from ((f", element {_short(part)}", part) for part in value)
    elif kind is FunctionType:
        if references.lookup(value) is None:
            yield from _function_parts(value)
    elif isinstance(value, type):
        if references.lookup(value) is None:
            yield from _class_parts(value)
    elif kind is MethodType:
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif kind is CellType:
        yield "", value.cell_contents
    elif kind is not ModuleType:
        yield from _object_parts(value)


def _items(items: Iterable[tuple[Any, Any]]) -> Iterator[Child]:
    for key, part in items:
        yield f", key {_short(key)}", key
        yield f"[{_short(key)}]", part


def _function_parts(function: FunctionType) -> Iterator[Child]:
    from .byvalue import global_names

    code, name = function.__code__, function.__qualname__
    shared = function.__globals__
    for variable, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        yield f", closure variable {variable!r} of {name!r}", content
    for variable in global_names(code):
        if variable in shared:
            yield f", global {variable!r} of {name!r}", shared[variable]
    defaults = function.__defaults__ or ()
    parameters = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    pairs = [*zip(parameters, defaults), *(function.__kwdefaults__ or {}).items()]
    for parameter, default in pairs:
        yield f", default of parameter {parameter!r} of {name!r}", default
    for attribute, part in vars(function).items():
        yield f", attribute {attribute!r} of {name!r}", part
    for parameter, part in function.__annotations__.items():
        yield f", annotation of {parameter!r} of {name!r}", part


def _class_parts(cls: type) -> Iterator[Child]:
    for base in cls.__bases__:
        yield f", base {base.__qualname__!r} of class {cls.__qualname__!r}", base
    for name, part in vars(cls).items():
        if name in {"__dict__", "__weakref__"}:
            continue
        inner = getattr(part, "__func__", part)
        label = f", attribute {name!r} of class {cls.__qualname__!r}"
        if type(part) is property:
            for accessor in (part.fget, part.fset, part.fdel):
                yield label, accessor
        else:
            yield label, inner


def _object_parts(value: Any) -> Iterator[Child]:
    """Yield what the object's own reduction brings up."""
    cls: type[Any] = type(value)
    if references.lookup(cls) is None:
        yield "", cls
    reducer = copyreg.dispatch_table.get(cls)
    reduced = reducer(value) if reducer is not None else value.__reduce_ex__(5)
    if isinstance(reduced, str):
        return
    function, arguments = reduced[:2]
    names = {id(part): name for name, part in _attributes(value)}
    if function is getattr(copyreg, "__newobj__", None):
        arguments = arguments[1:]
    else:
        yield ", its constructor", function
    # Of a named tuple; others may have the name for something else.
    fields: Any = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    for i, part in enumerate(arguments):
        attribute = names.get(id(part))
        if type(fields) is tuple and i < len(fields):
            attribute = fields[i]
        label = f", argument {i} of its constructor"
        yield label if attribute is None else f".{attribute}", part
    rest = [*reduced[2:], None, None, None]
    yield from _state_parts(rest[0])
    yield from ((f"[{i}]", part) for i, part in enumerate(rest[1] or ()))
    yield from _items(rest[2] or ())


def _attributes(value: Any) -> list[Child]:
    own: Any = getattr(value, "__dict__", None)
    return list(own.items()) if type(own) is dict else []


def _state_parts(state: Any) -> Iterator[Child]:
    parts: list[Any] = [state]
    if (
        type(state) is tuple
        and len(state) == _PLAIN_STATE
        and all(part is None or type(part) is dict for part in state)
    ):
        parts = list(state)
    for part in parts:
        if type(part) is dict:
            yield from (
                (f".{key}" if isinstance(key, str) else f"[{_short(key)}]", value)
                for key, value in part.items()
            )
        elif part is not None:
            yield ", its state", part


def check_globals(functions: Iterable[FunctionType], name: str) -> None:
    """Refuse functions that take too many bytes of globals along.

    Raises:
        EncodeError: Their globals are more than `LARGEST_GLOBALS` bytes by value;
            names the biggest one.
    """
    from .byvalue import global_names

    largest, where, total = 0, "", 0
    seen: set[int] = set()
    for function in functions:
        shared = function.__globals__
        for variable in global_names(function.__code__):
            value: Any = shared.get(variable)
            if (
                id(value) in seen
                or isinstance(value, (type, FunctionType, ModuleType))
                # What a task's function needs is looked at with that function.
                or references.is_task(type(value))
            ):
                continue
            seen.add(id(value))
            size = _measured(value)
            total += size
            if size > largest:
                largest, where = (
                    size,
                    f"global {variable!r} of {function.__qualname__!r}",
                )
    if total > LARGEST_GLOBALS:
        raise EncodeError(
            join(name, where),
            f"it would travel with every copy of the function: {largest:,} bytes; "
            "pass it as an argument, make it in the function, or move the function to "
            "a module that can be imported",
        )
