"""Tasks that are found by the name of their module and their qualified name."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of

if TYPE_CHECKING:
    from entangle._graph.task import Task


def leads_to(task: Task[..., Any], module: str, name: str) -> bool:
    """Tell whether another process that imports `module` finds `task` by its name.

    Never so for ``__main__``, which is another program there, and for modules that
    cloudpickle was told to send by value.
    """
    if module == "__main__" or _sent_by_value(module):
        return False
    return module in sys.modules and _resolve(sys.modules[module], name) is task


def find(module: str, name: str) -> Task[..., Any]:
    """Import the module and find the task.

    Raises:
        AttributeError: If there is no task of that name.
    """
    found = _resolve(import_module(module), name)
    if found is None:
        raise AttributeError(
            f"module {module!r} has no task {name!r} here: is it the same version of "
            "the module as where the task was sent from?"
        )
    return found


def own(task: Task[..., Any]) -> Task[..., Any]:
    """Return this process's own task where `task` is a copy of it, else `task`.

    A task of ``__main__`` comes back by value. Its function comes back as this
    process's own, so the task is known by its name, function and spec.
    """
    module = sys.modules.get(task.module)
    known = None if module is None else _resolve(module, task.name)
    if known is not None and known.fn is task.fn and known.spec == task.spec:
        return known
    return task


def _resolve(module: object, name: str) -> Task[..., Any] | None:
    """Follow a qualified name; None if it leads to no task."""
    # Imported here: tasks are made with this module.
    from entangle._graph.task import BoundTask, Task

    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if issubclass(kind_of(found), BoundTask):
        # A classmethod's task is bound as soon as it is found.
        found = found.task
    return found if issubclass(kind_of(found), Task) else None


def _sent_by_value(module: str) -> bool:
    # Who has registered a module has imported cloudpickle.
    cloudpickle: Any = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return False
    registered: set[str] = cloudpickle.list_registry_pickle_by_value()
    while module:
        if module in registered:
            return True
        module = module.rpartition(".")[0]
    return False
