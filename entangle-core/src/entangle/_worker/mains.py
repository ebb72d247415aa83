"""Modules that exist in this worker only to hold what arrived by value.

A class of the caller's ``__main__`` arrives as a definition, not as a file to import.
Putting it under its name into a module of this process lets plain pickle, and with it
multiprocessing, find it while a task runs.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_modules: dict[str, ModuleType] = {}
# Names of modules that are importable here, and so must not be touched.
_others: set[str] = set()


def enter_main(file: str | None = None, name: str = "__main__") -> ModuleType:
    """Give this worker a fresh main module, like that of the caller.

    To be called in a worker only, before anything is decoded. What arrives by value
    is from then on put into modules of its module's name. The former main module is
    only taken out of `sys.modules`: who needs it must hold it.

    Args:
        file: The path of the caller's program, for ``__main__.__file__``; None for a
            program without a file. With it, multiprocessing's *spawn* imports that
            file in its children, as it does in any program.
        name: The name to set it up under.
    """
    module = ModuleType(name)
    if file is not None:
        module.__file__ = file
    module.__dict__["__builtins__"] = __builtins__
    sys.modules[name] = module
    _modules[name] = module
    return module


def publish(obj: Any) -> None:
    """Put a function or class that arrived by value into its module, in a worker."""
    if not _modules:
        return
    module_name, name = obj.__module__, obj.__qualname__
    if type(module_name) is not str or not name.isidentifier():
        return
    module = _modules.get(module_name) or _made(module_name)
    if module is not None:
        module.__dict__[name] = obj


def _made(name: str) -> ModuleType | None:
    if name in _others or name in sys.modules or _findable(name):
        _others.add(name)
        return None
    module = ModuleType(name)
    sys.modules[name] = module
    _modules[name] = module
    # What it holds leaves by value again: the caller may not find it by name.
    from .byvalue import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return module


def _findable(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except Exception:  # noqa: BLE001 - imports the parents, which are user code
        return False
