"""Modules that a function imports in its body, as the files that they are.

They need not be imported yet, and importing them could do anything. So their files
count as a whole, with the project's files that these import in their turn.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .origins import is_project_file, label
from .syntax import token_of_source
from .tokens import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST: Final = 1024


def token_of_import(package: str, level: int, name: str, taken: Sequence[str]) -> bytes:
    """Return what stands for a module that is imported inside a function.

    Args:
        package: The package of the function's module.
        level: How many packages up a relative import begins.
        name: What is imported.
        taken: What is taken from it, perhaps modules.
    """
    seen: dict[str, bytes] = {}
    pending = list(_modules(package, level, name, taken))
    while pending:
        module = pending.pop()
        if module in seen:
            continue
        file = _file(module)
        if file is None:
            seen[module] = b"" if "." in module else label(module).encode()
            continue
        try:
            stat = file.stat()
            token, imports = _read(module, file, stat.st_mtime_ns, stat.st_size)
        except OSError:
            seen[module] = b""
            continue
        seen[module] = token
        pending += imports
    found = [part for pair in sorted(seen.items()) for part in pair]
    return digest(*(p.encode() if isinstance(p, str) else p for p in found))


def _modules(
    package: str, level: int, name: str, taken: Sequence[str]
) -> Iterator[str]:
    """Yield the full names of all that may be modules."""
    if level:
        parts = package.split(".")
        base = ".".join(parts[: len(parts) - level + 1])
        name = f"{base}.{name}" if name else base
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
    for each in taken:
        if each != "*":
            yield f"{name}.{each}"


def _file(module: str) -> Path | None:
    """Find the source of a module of the project without importing anything."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "entangle":
        return None
    known = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(known, str):
        path: Sequence[str] | None = None
        name = ""
        origin: str | None = None
        for part in module.split("."):
            name = f"{name}.{part}" if name else part
            try:
                spec = PathFinder.find_spec(name, path)
            except (ImportError, AttributeError, ValueError):
                return None
            if spec is None:
                return None
            path, origin = spec.submodule_search_locations or [], spec.origin
        known = origin
    if not isinstance(known, str) or not known.endswith((".py", ".pyw")):
        return None
    return Path(known) if is_project_file(known) else None


@lru_cache(_MOST)
def _read(
    module: str, file: Path, _changed: int, _size: int
) -> tuple[bytes, tuple[str, ...]]:
    """Return the token of a file, with what it imports anywhere in it."""
    import ast

    text = file.read_text(errors="surrogateescape")
    token = token_of_source(text, str(file))
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    found: dict[str, None] = {}
    if token.startswith(b"Z"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found.update(dict.fromkeys(_modules("", 0, alias.name, ())))
            elif isinstance(node, ast.ImportFrom):
                taken = [alias.name for alias in node.names]
                base = _modules(package, node.level, node.module or "", taken)
                found.update(dict.fromkeys(base))
    return token, tuple(found)
