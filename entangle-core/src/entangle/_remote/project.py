"""The caller's own modules: those beside the program, which no place has installed."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# As `MemoryImporter` takes it: path, whether it is a package, source, compiled code.
Entry = tuple[str, bool, bytes, None]

# What a place that is new enough imports where a task returns nodes.
_FRAMEWORK: Final = "entangle"


class Project:
    """Finds modules that are neither the standard library's nor installed."""

    def __init__(self) -> None:
        self._known: tuple[list[str], int] | None = None
        self._names: frozenset[str] = frozenset()
        self._installed = tuple(
            {os.path.realpath(path) for path in _installed() if path}
        )

    def names(self) -> frozenset[str]:
        """Return the top-level names of all that may be asked for."""
        known = list(sys.path), len(sys.modules)
        if known != self._known:
            self._known = known
            found = {_FRAMEWORK}
            for folder in sys.path:
                found.update(self._in_folder(folder))
            for name, module in list(sys.modules.items()):
                if "." not in name and self._own(getattr(module, "__spec__", None)):
                    found.add(name)
            self._names = frozenset(found)
        return self._names

    def owns(self, name: str) -> bool:
        """Tell whether a module is the caller's own, and no framework."""
        top = name.partition(".")[0]
        return top != _FRAMEWORK and top in self.names()

    def entry(self, name: str, *, loaded: bool = False) -> Entry | str | None:
        """Return what there is of a module, or why it can't travel; None if nothing is.

        Nothing is imported for it.

        Args:
            name: Its name.
            loaded: Whether only those that are imported here may be asked for.
        """
        top = name.partition(".")[0]
        if loaded and name not in sys.modules and top != _FRAMEWORK:
            return None
        if top not in self.names() or name == "__main__":
            return None
        spec = _spec(name)
        if spec is None:
            return None
        is_package = spec.submodule_search_locations is not None
        if spec.loader is None or spec.origin is None:
            # Of a namespace there is no file.
            return (f"<{name}>", True, b"", None) if is_package else None
        try:
            if spec.origin.endswith(".py"):
                try:
                    source = Path(spec.origin).read_bytes()
                except OSError:
                    source = (spec.loader.get_source(name) or "").encode()
                return spec.origin, is_package, source, None
        except (OSError, ImportError, AttributeError) as error:
            return f"module {name!r} can't be sent to where the task runs: {error}"
        return (
            f"module {name!r} is no source file ({spec.origin}), so it can't be sent to "
            "where the task runs: install it there"
        )

    def _in_folder(self, folder: str) -> Iterator[str]:
        path = os.path.realpath(folder or ".")
        if self._is_installed(path):
            return
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    stem, dot, suffix = entry.name.partition(".")
                    if dot and suffix == "py":
                        yield stem
                    elif not dot and stem.isidentifier() and entry.is_dir():
                        if os.path.exists(os.path.join(entry.path, "__init__.py")):  # noqa: PTH110, PTH118 - there may be many
                            yield stem
        except OSError:
            return

    def _own(self, spec: Any) -> bool:
        origin = getattr(spec, "origin", None)
        if type(origin) is not str or not origin.endswith(".py"):
            return False
        return not self._is_installed(os.path.realpath(origin))

    def _is_installed(self, path: str) -> bool:
        return path.startswith(self._installed)


def _installed() -> Iterator[str]:
    paths = sysconfig.get_paths()
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield paths.get(name, "")
    site = sys.modules.get("site")
    if site is not None:
        for function in ("getsitepackages", "getusersitepackages"):
            try:
                found = getattr(site, function)()
            except Exception:  # noqa: BLE001, S112 - of virtual environments without
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
        except Exception:  # noqa: BLE001, S112 - a finder of whatever origin
            continue
        if spec is not None:
            return spec
    return None
