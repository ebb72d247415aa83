"""The caller's own modules: those beside the program, which no place has installed.

The framework counts among them, and so do the packages that its decorators are made in:
a module with a task in it imports them, and needs no more of them than that.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from entangle._seam import making

if TYPE_CHECKING:
    from collections.abc import Iterator

# As `MemoryImporter` takes it: path, whether it is a package, source, compiled code.
Entry = tuple[str, bool, bytes, None]

# What a place that is new enough imports where a task returns nodes.
_FRAMEWORK: Final = "entangle"
OLDEST: Final = (3, 11)  # the oldest Python that takes it


class Project:
    """Finds modules that are neither the standard library's nor installed."""

    def __init__(self) -> None:
        self._known: tuple[list[str], int, int] | None = None
        self._names: frozenset[str] = frozenset()
        # As they are called and as they are: what installers link to is installed, too.
        self._installed = tuple(
            {
                real(path)
                for path in _installed()
                if path
                for real in (os.path.abspath, os.path.realpath)
            }
        )

    def names(self) -> frozenset[str]:
        """Return the top-level names of all that may be asked for."""
        known = list(sys.path), len(sys.modules), len(making.modules)
        if known != self._known:
            self._known = known
            found = {_FRAMEWORK, *_decorators()}
            for folder in sys.path:
                found.update(self._in_folder(folder))
            for name, module in list(sys.modules.items()):
                spec = getattr(module, "__spec__", None)
                if "." not in name and name != "__main__" and self._own(spec):
                    found.add(name)
            self._names = frozenset(found)
        return self._names

    def owns(self, name: str) -> bool:
        """Tell whether a module is the caller's own, and no framework."""
        top = name.partition(".")[0]
        return top != _FRAMEWORK and top in self.names()

    def needs_framework(self, name: str) -> bool:
        """Tell whether a module of the caller's imports the framework with itself."""
        waiting, seen = [name], {name}
        while waiting:
            name = waiting.pop()
            above = name.rpartition(".")[0]
            module = sys.modules.get(name)
            origins = (
                {above, *map(_origin, list(vars(module).values()))}
                if module
                else {above}
            )
            for origin in origins - seen:
                if origin.partition(".")[0] == _FRAMEWORK:
                    return True
                if self.owns(origin):
                    waiting.append(origin)
            seen |= origins
        return False

    def entry(
        self,
        name: str,
        *,
        loaded: bool = False,
        version: tuple[int, int] = sys.version_info[:2],
    ) -> Entry | str | None:
        """Return what there is of a module, or why it can't travel; None if nothing is.

        Nothing is imported for it.

        Args:
            name: Its name.
            loaded: Whether only those that are imported here may be asked for.
            version: The version of the Python that asks.
        """
        top = name.partition(".")[0]
        if top == _FRAMEWORK:
            if version < OLDEST:
                return (
                    f"module {name!r} needs Python {OLDEST[0]}.{OLDEST[1]}, and the "
                    f"task runs in {version[0]}.{version[1]}: keep what it uses in "
                    "modules that don't import entangle"
                )
        elif top not in self.names() or (loaded and name not in sys.modules):
            return None
        spec = _spec(name)
        if top != _FRAMEWORK and top not in _decorators() and not self._own(spec):
            return None  # a folder beside the program is called like a library
        return None if spec is None else _entry(name, spec)

    def _in_folder(self, folder: str) -> Iterator[str]:
        path = os.path.realpath(folder or ".")
        if self._is_installed(path):
            return
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    stem, dot, suffix = entry.name.partition(".")
                    if (dot and suffix == "py") or (
                        not dot and stem.isidentifier() and _is_package(entry)
                    ):
                        yield stem
        except OSError:
            return

    def _own(self, spec: Any) -> bool:
        origin = getattr(spec, "origin", None)
        places = [origin]
        if origin is None:
            # Of a namespace, which has no file.
            places = list(getattr(spec, "submodule_search_locations", None) or ())
        return any(
            type(each) is str
            and each[:1] == os.sep
            and not self._is_installed(each)
            and not self._is_installed(os.path.realpath(each))
            for each in places
        )

    def _is_installed(self, path: str) -> bool:
        return path.startswith(self._installed)


def _origin(value: Any) -> str:
    """Return the name of the module that a value is, or that has it or its class."""
    if isinstance(value, ModuleType):
        return value.__name__
    holder = value if isinstance(value, (type, FunctionType)) else type(value)
    return str(holder.__module__)


def _decorators() -> set[str]:
    """Return the packages that decorators were made in."""
    return {name.partition(".")[0] for name in making.modules} - {"__main__"}


def _is_package(entry: os.DirEntry[str]) -> bool:
    """Tell whether modules are in a folder; it needs no ``__init__.py``."""
    return entry.is_dir() and any(
        name.endswith(".py")
        for name in os.listdir(entry.path)  # noqa: PTH208 - there may be many
    )


def _entry(name: str, spec: Any) -> Entry | str | None:
    """Return what there is of a module whose spec is known, or why it can't travel."""
    is_package = spec.submodule_search_locations is not None
    if spec.loader is None or spec.origin is None:
        # Of a namespace there is no file.
        return (f"<{name}>", True, b"", None) if is_package else None
    if not spec.origin.endswith(".py"):
        return (
            f"module {name!r} is no source file ({spec.origin}), so it can't be sent to "
            "where the task runs: install it there"
        )
    try:
        source = Path(spec.origin).read_bytes()
    except OSError:
        try:
            # In an archive, for example.
            source = (spec.loader.get_source(name) or "").encode()
        except (OSError, ImportError, AttributeError) as error:
            return f"module {name!r} can't be sent to where the task runs: {error}"
    return spec.origin, is_package, source, None


def _installed() -> Iterator[str]:
    paths = sysconfig.get_paths()
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield paths.get(name, "")
    site = sys.modules.get("site")
    if site is not None:
        for function in ("getsitepackages", "getusersitepackages"):
            try:
                found = getattr(site, function)()
            except Exception:  # noqa: S112 - of virtual environments without
                continue
            yield from [found] if isinstance(found, str) else found


def _spec(name: str) -> Any:
    """Return the spec of a module, imported or not."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is not None:
        return spec
    path = None
    parent, _, _ = name.rpartition(".")
    if parent:
        above = _spec(parent)
        path = getattr(above, "submodule_search_locations", None)
        if path is None:
            return None
    for finder in list(sys.meta_path):
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # noqa: S112 - a finder of whatever origin
            continue
        if spec is not None:
            return spec
    return None
