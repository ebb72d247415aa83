"""The caller's own modules that a call needs: a job can't ask for them later."""

from __future__ import annotations

import ast
import functools
import pickle
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from entangle._remote.project import OLDEST, Project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from entangle._remote.project import Entry

_LOOKED_AT = 1 << 20  # bytes of arguments that are searched for names
_IMPORTS_US = re.compile(rb"^\s*(?:from|import)\s+entangle\b", re.MULTILINE)
_lock = threading.Lock()
project = Project()


def needed(texts: Iterable[Any], version: tuple[int, int] | None) -> bytes:
    """Return the modules whose names appear in some pickles, and what they import.

    A name that only looks like one costs a module too many. Nothing is imported for it.

    Args:
        texts: What may name modules.
        version: That of the place's Python; None for this one's.

    Returns:
        For `calls.run`; empty if there are none.
    """
    with _lock:
        names = _names()
        if not names:
            return b""
        pattern = _pattern(names)
        found: dict[str, Entry] = {}
        waiting = [
            name
            for text in texts
            for match in pattern.finditer(memoryview(text)[:_LOOKED_AT])
            for name in _with_parents(match[0].decode())
        ]
        while waiting:
            name = waiting.pop()
            if name in found or not project.owns(name):
                continue
            entry = project.entry(name)
            if entry is None or isinstance(entry, str):
                continue
            if version is not None and version < OLDEST:
                entry = _without_us(name, entry)
            found[name] = entry
            named = [match[0].decode() for match in pattern.finditer(entry[2])]
            named += _imported(name, entry)
            waiting += [each for one in named for each in _with_parents(one)]
    return pickle.dumps(found, 4) if found else b""


def _imported(name: str, entry: Entry) -> Iterator[str]:
    """Yield what a module may import, as it is called from outside of its package.

    What ``from`` takes may be a module, or not: it is yielded, too.
    """
    _, is_package, source, _ = entry
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # it fails where it is imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")
            up = node.level - is_package
            base = above[: len(above) - up] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            if whole:
                yield whole
                yield from (f"{whole}.{alias.name}" for alias in node.names)


def _without_us(name: str, entry: Entry) -> Entry:
    """Return a module for a Python that is too old for Entangle.

    Its name may only look as if it were needed: so it fails when it is imported.
    """
    path, is_package, source, code = entry
    if _IMPORTS_US.search(source):
        why = (
            f"the module {name} imports Entangle, which needs Python "
            f"{'.'.join(map(str, OLDEST))} or newer: put what is needed there into a "
            "module of its own"
        )
        source = f"raise ImportError({why!r})".encode()
    return path, is_package, source, code


def _names() -> frozenset[str]:
    """Return the names of the caller's own modules, loaded or beside the program."""
    own = {name for name in project.names() if project.owns(name)}
    return frozenset(own.union(name for name in [*sys.modules] if project.owns(name)))


@functools.lru_cache(4)
def _pattern(names: frozenset[str]) -> re.Pattern[bytes]:
    # The longest first: of a package's module the package is found, too.
    ordered = sorted(names - {"__main__"}, key=len, reverse=True)
    joined = "|".join(map(re.escape, ordered))
    return re.compile(rf"(?<![A-Za-z0-9_])(?:{joined})(?![A-Za-z0-9_])".encode())


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
