"""Modules without files: imported from memory, where nothing is installed.

What has arrived is imported from here, before anything that the place itself has under
the same name; sources are kept, so that tracebacks and `inspect` show them. In a worker,
modules of the caller's own are asked for when they are imported.
"""

from __future__ import annotations

import _imp
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Any, Union

    # What there is of a module: its file's path where it comes from, whether it is a
    # package, its source, its compiled code or None.
    Entry = tuple[str, bool, bytes, Union[bytes, None]]

HERE = "entangle._worker.importer"


class MemoryImporter:
    """Finds and loads modules that arrived over the stream.

    Attributes:
        ask: Called with the name of a module that is the caller's; returns what there
            is of it, or None.
        names: The top-level names of the caller's own modules.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        """Begin with some modules."""
        self._entries = dict(entries)
        self.ask: Union[Callable[[str], Union[Entry, None]], None] = None
        self.names: frozenset[str] = frozenset()

    def held(self) -> list[str]:
        """Return the names of the modules that have arrived."""
        return [*self._entries]

    def find_spec(
        self,
        name: str,
        path: Union[Sequence[str], None] = None,
        target: Union[ModuleType, None] = None,
    ) -> Union[ModuleSpec, None]:
        """Return the spec of a module, None if it is not one of these."""
        del path, target
        entry = self._entry(name)
        if entry is None:
            return None
        return ModuleSpec(name, self, origin=entry[0], is_package=entry[1])  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> None:
        """Have the module made as usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        name = module.__name__
        module.__file__ = self._entries[name][0]
        exec(self.get_code(name), module.__dict__)  # noqa: S102 - what importing is

    def get_code(self, name: str) -> CodeType:
        """Return the code of a module."""
        path, _, source, compiled = self._entries[name]
        if compiled is not None:
            import marshal

            code: CodeType = marshal.loads(compiled)  # noqa: S302 - sent by the caller
            return code
        return compile(source, path, "exec", dont_inherit=True)

    def get_source(self, name: str) -> Union[str, None]:
        """Return the source of a module, for tracebacks; None if it didn't come."""
        import io
        import tokenize

        source = self._entries[name][2]
        if not source:
            return None
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        return io.IncrementalNewlineDecoder(None, translate=True).decode(
            source.decode(encoding)
        )

    def is_package(self, name: str) -> bool:
        """Tell whether a module is a package."""
        return self._entries[name][1]

    def _entry(self, name: str) -> Union[Entry, None]:
        entry = self._entries.get(name)
        if entry is None and self.ask is not None:
            if name.partition(".")[0] not in self.names:
                return None
            entry = self.ask(name)
            if entry is not None:
                self._entries[name] = entry
        return entry


class CompiledLibrary:
    """Finds modules of this place's library whose code has arrived, too.

    Where the source here is the very one that the code was compiled from, it needs not
    be compiled again.
    """

    def __init__(self, codes: Mapping[str, tuple[bytes, bytes]]) -> None:
        """Begin with what modules' sources are known by, and their code."""
        self._codes = codes

    def find_spec(
        self,
        name: str,
        path: Union[Sequence[str], None] = None,
        target: Union[ModuleType, None] = None,
    ) -> Union[ModuleSpec, None]:
        """Return the spec of a module, None if it is not one of these."""
        known = self._codes.get(name)
        if known is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Compiled(spec.loader.name, spec.loader.path, *known)
        return spec


class _Compiled(SourceFileLoader):
    """Loads one module of the library."""

    def __init__(self, name: str, path: str, key: bytes, code: bytes) -> None:
        super().__init__(name, path)
        self._key = key
        self._code = code

    def get_code(self, fullname: str) -> Union[CodeType, None]:
        """Return its code, compiled if it has to be."""
        if _imp.source_hash(0, self.get_data(self.path)) != self._key:
            return super().get_code(fullname)
        import marshal

        code: CodeType = marshal.loads(self._code)  # noqa: S302 - sent by the caller
        _imp._fix_co_filename(code, self.path)  # type: ignore[attr-defined]  # noqa: SLF001 - as importlib does
        return code


def installed() -> Union[MemoryImporter, None]:
    """Return this process's importer; None in one that has files to import from."""
    for finder in sys.meta_path:
        if type(finder) is MemoryImporter:
            return finder
    return None


def install(entries: dict[str, Any], this: ModuleType) -> None:
    """Import from memory from now on.

    Args:
        entries: What there is; under no name, what there is of the library.
        this: This module, as the bootstrap has made it.
    """
    codes = entries.pop("", None)
    importer = MemoryImporter(entries)
    if codes:
        sys.meta_path.insert(0, CompiledLibrary(codes))
    # What the place has of Entangle may be of another version: none of it is used.
    for name in [name for name in sys.modules if name.partition(".")[0] == "entangle"]:
        del sys.modules[name]
    sys.meta_path.insert(0, importer)
    this.__dict__["__loader__"] = importer
    sys.modules[HERE] = this


def begin(entries: dict[str, Any], this: ModuleType) -> None:
    """Be a host: the last thing that the bootstrap does."""
    install(entries, this)
    from .host import main

    main()
