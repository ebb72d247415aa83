"""Whose code a module is: the project's, which may change any time, or a library's."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import PurePath
from typing import Any, Final

_PROGRAMS: Final = frozenset({"__main__", "__mp_main__"})
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_OURS: Final = "entangle"


def is_project(name: str) -> bool:
    """Tell whether a module is the user's own code, as far as this can be known.

    A library is what is built in, of the standard library, in ``site-packages``, or
    Entangle itself. Everything else is the project, libraries that are installed in
    place (*editable*) among it.
    """
    if name in _PROGRAMS:
        return True
    module = sys.modules.get(name)
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == _OURS:
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        return origin not in {"built-in", "frozen"}
    return is_project_file(file)


def is_project_file(file: str) -> bool:
    """Tell whether a source file is the user's own."""
    return file.endswith((".py", ".pyw", ".pyc")) and _INSTALLED.isdisjoint(
        PurePath(file).parts
    )


@cache
def version(top: str) -> str:
    """Return the version of a library, by the name of its top package.

    The standard library has none of its own: Python's is in every key.
    """
    if top in sys.stdlib_module_names or top == _OURS:
        return ""
    known: Any = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(known, str):
        return known
    # Imported here: it takes longer than everything else together.
    from importlib import metadata

    try:
        return metadata.version(top)
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def label(name: str) -> str:
    """Return a library's module with the version that it is of."""
    return f"{name}@{version(name.partition('.')[0])}"
