"""The schedulers that users supply, from a class or a dotted path."""

from __future__ import annotations

import importlib
from typing import Any


def make(impl: object, cpus: tuple[int, ...]) -> Any:
    """Return a new scheduler for processors, or None for the built-in one.

    Args:
        impl: A class that follows `entangle.scheduler.CpuScheduler`, the dotted path
            of one, or None.
        cpus: The ids of the processors it chooses from.

    Raises:
        ImportError, AttributeError: A path that leads nowhere.
        TypeError: What was made has no ``choose``.
    """
    if impl is None:
        return None
    factory: Any = impl
    if isinstance(impl, str):
        module, _, name = impl.rpartition(".")
        factory = getattr(importlib.import_module(module), name)
    chooser = factory(cpus)
    if not callable(getattr(chooser, "choose", None)):
        raise TypeError(
            f"{factory!r} makes no scheduler: what it returns has no method "
            "choose(free) (see entangle.scheduler.CpuScheduler)"
        )
    return chooser
