"""Functions and odd objects by value: what cloudpickle adds to plain pickle.

Imported at the first object that needs it, since cloudpickle costs 30 ms.
"""

# What is used of cloudpickle has no public name.
# ruff: noqa: SLF001

from __future__ import annotations

import functools
import os
import sys
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from weakref import WeakKeyDictionary

from . import mains, references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

cloudpickle: Any = import_module("cloudpickle.cloudpickle")

_OPTIMIZED = 0x1  # flag of the code of functions, absent from that of class bodies


# Function that arrived by value -> the process that it came from first.
_origins: WeakKeyDictionary[FunctionType, str] = WeakKeyDictionary()
_token = os.urandom(8).hex()


def _here() -> str:
    """Return the name of this process, which its forked children don't share."""
    return f"{_token}-{os.getpid()}"


def reduce_function(pickler: Any, function: FunctionType) -> tuple[Any, ...]:
    """Reduce a function to its code and the globals that the code names."""
    pickler.by_value.append(function)
    arguments = cloudpickle.Pickler._function_getnewargs(pickler, function)
    state = cloudpickle._function_getstate(function)
    shared = function.__globals__
    for name in class_body_names(function.__code__):
        if name in shared:
            state[1]["__globals__"].setdefault(name, shared[name])
    name, qualname = function.__module__, function.__qualname__
    origin = _origins.get(function, "")
    if not origin and _own(name, qualname) is function:
        origin = _here()
    return (
        make_function,
        (*arguments, origin, name, qualname),
        (state, arguments[1]),
        None,
        None,
        set_function_state,
    )


def _own(name: str, qualname: str) -> Any:
    """Return the function of that name in this process, through a task or not."""
    if type(name) is not str:
        return None
    found = references.resolve(sys.modules.get(name), qualname)
    if type(found) is FunctionType:
        return found
    try:
        return getattr(found, "fn", None)
    except Exception:  # noqa: BLE001 - an object's own __getattr__
        return None


def make_function(  # noqa: PLR0917 - stands in pickles
    code: CodeType,
    space: dict[str, Any],
    name: Any,
    defaults: Any,
    closure: Any,
    origin: str,
    module: str,
    qualname: str,
) -> Any:
    """Make a function without its state (stands in pickles).

    A function that comes back to the process that it came from is the one that is
    there, unless that has been replaced by another meanwhile.
    """
    if origin == _here():
        found = _own(module, qualname)
        if type(found) is FunctionType and found.__code__ == code:
            return found
    function = cloudpickle._make_function(code, space, name, defaults, closure)
    if origin:
        _origins[function] = origin
    return function


def set_function_state(function: FunctionType, state: Any) -> None:
    """Finish a function that arrived by value (stands in pickles)."""
    state, space = state
    if function.__globals__ is space:  # else it was here before
        cloudpickle._function_setstate(function, state)
        mains.publish(function)


def global_names(code: CodeType) -> list[str]:
    """Return the names of globals that `code`, with all code in it, uses."""
    names = dict.fromkeys(cloudpickle._extract_code_globals(code))
    names.update(dict.fromkeys(class_body_names(code)))
    return list(names)


def class_body_names(code: CodeType) -> list[str]:
    """Return what class bodies inside `code` may take from the globals.

    They load such names by another instruction than functions do, one that
    cloudpickle does not look for.
    """
    bodies: list[CodeType] = []
    waiting = [code]
    while waiting:
        for constant in waiting.pop().co_consts:
            if type(constant) is CodeType:
                waiting.append(constant)
                if not constant.co_flags & _OPTIMIZED:
                    bodies.append(constant)
    if not bodies:
        return []
    import dis

    return [
        instruction.argval
        for body in bodies
        for instruction in dis.get_instructions(body)
        if instruction.opname in {"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
    ]


def _reduce_module(module: ModuleType) -> tuple[Any, ...]:
    name = module.__name__
    known = sys.modules.get(name) is module
    if known and (name in references.PROGRAMS or references.importable(name)):
        return cloudpickle.subimport, (name,)
    state = dict(vars(module))
    # Specs and loaders are bound to this process.
    for private in ("__builtins__", "__spec__", "__loader__", "__cached__"):
        state.pop(private, None)
    return cloudpickle.dynamic_subimport, (name, state)


_Cached: Any = type(functools.lru_cache(len))


def _reduce_cached(cached: Any) -> Any:
    found = references.lookup(cached)
    if found is None:
        parameters = cached.cache_parameters()
        return (
            make_cached,
            (cached.__wrapped__, parameters["maxsize"], parameters["typed"]),
        )
    return (references.task_function, found[:2]) if found[2] else found[1]


def make_cached(function: Callable[..., Any], maxsize: int, typed: bool) -> Any:  # noqa: FBT001 - stands in pickles
    """Give a function that arrived by value an empty cache (stands in pickles)."""
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_property(value: Any) -> tuple[Any, ...]:
    # Before Python 3.12 it holds a lock.
    return make_property, (value.func, value.attrname)


def make_property(function: Callable[..., Any], name: str) -> Any:
    """Rebuild a cached property of a class that arrived by value."""
    made: Any = functools.cached_property(function)
    made.attrname = name
    return made


REDUCERS: dict[type, Callable[[Any], Any]] = {
    **cloudpickle.Pickler.dispatch_table.maps[0],
    ModuleType: _reduce_module,
    _Cached: _reduce_cached,
    functools.cached_property: _reduce_property,
}
