"""Names under which another process finds a function or class by importing it."""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# Programs, not modules: importing them would run them again.
PROGRAMS = frozenset(("__main__", "__mp_main__"))

_missing = object()

# name -> (module, len(sys.path) then, whether a search for the name finds the module)
_found: dict[str, tuple[object, int, bool]] = {}


def importable(name: str) -> bool:
    """Say whether importing `name` elsewhere brings the module that is here.

    False for programs (``__main__``), for modules made by hand, loaded from a file
    that the import path does not lead to, or registered with cloudpickle as by value.
    Where the path itself leads elsewhere on the far side, this cannot know it.
    """
    module = sys.modules.get(name)
    if module is None or name in PROGRAMS or registered_by_value(name):
        return False
    known = _found.get(name)
    if known is not None and known[0] is module and known[1] == len(sys.path):
        return known[2]
    answer = _search_finds(name, module)
    _found[name] = (module, len(sys.path), answer)
    return answer


def _search_finds(name: str, module: ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return False
    origin = getattr(spec, "origin", None)
    if origin in {"built-in", "frozen"}:
        return True
    parent, _, _ = name.rpartition(".")
    path = None
    if parent:
        path = getattr(sys.modules.get(parent), "__path__", None)
        if path is None:
            # A module that its parent makes up while it is imported (os.path).
            return importable(parent)
        if not importable(parent):
            return False
    for finder in list(sys.meta_path):
        try:
            found = finder.find_spec(name, path)
        except Exception:  # noqa: BLE001, S112 - a finder of whatever origin
            continue
        if found is not None:
            return found.origin == origin
    # Made up by an importable parent (six.moves and the like).
    return bool(parent)


def registered_by_value(name: str) -> bool:
    """Say whether cloudpickle was told to send the module `name` by value."""
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    names = getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", None)
    if not names:
        return False
    while name not in names:
        name, _, _ = name.rpartition(".")
        if not name:
            return False
    return True


def resolve(module: object, qualname: str) -> Any:
    """Return what `qualname` (dots allowed) names in `module`, else a marker."""
    found: Any = module
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except Exception:  # noqa: BLE001 - a module's or a class's own __getattr__
            return _missing
    return found


def lookup(obj: object) -> tuple[str, str, bool] | None:
    """Return (module, qualified name, through a task) if `obj` can be imported.

    *Through a task* means that the name leads to an object whose attribute ``fn`` is
    `obj`: a decorated function, reached from its task.
    """
    try:
        name: Any = obj.__module__
        qualname: Any = obj.__qualname__  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - callable objects may do anything here
        return None
    if type(name) is not str or type(qualname) is not str:
        return None
    module = sys.modules.get(name)
    if module is None or not importable(name):
        return None
    found = resolve(module, qualname)
    if found is obj:
        return name, qualname, False
    if found is _missing or isinstance(found, type) or not leads_to(found, obj):
        return None
    return name, qualname, True


def leads_to(found: object, fn: object) -> bool:
    """Say whether `found` is a task of the function `fn`."""
    try:
        return getattr(found, "fn", _missing) is fn
    except Exception:  # noqa: BLE001 - an object's own __getattr__
        return False


def is_task(kind: type) -> bool:
    """Say whether objects of that type are a function with an immutable spec."""
    return hasattr(kind, "fn") and hasattr(kind, "spec")


def task_function(module: str, qualname: str) -> Any:
    """Import the function behind the task of that name (stands in pickles)."""
    __import__(module)
    found = resolve(sys.modules[module], qualname)
    if found is _missing:
        raise AttributeError(f"module {module!r} has no {qualname!r}")
    # Where the decorator does nothing, the name is the function itself.
    return getattr(found, "fn", found)
