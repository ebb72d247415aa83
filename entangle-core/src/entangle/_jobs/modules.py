"""The caller's own modules that a call needs: a job can't ask for them later."""

from __future__ import annotations

import functools
import re
import threading
from typing import TYPE_CHECKING, Any

from entangle._remote.project import OLDEST, Project

from . import imports, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from entangle._remote.project import Entry

_IMPORTS_US = re.compile(rb"^\s*(?:from|import)\s+entangle\b", re.MULTILINE)
_lock = threading.Lock()
project = Project()
_of_function = functools.lru_cache(64)(references.modules)


def needed(names: Iterable[str], version: tuple[int, int] | None) -> dict[str, Entry]:
    """Return those of some modules that are the caller's own, and what they import.

    Nothing is imported for it. The program itself is among them only where one of them,
    or what is sent of it, imports it by its name.

    Args:
        names: The modules, by full names; others are left alone.
        version: That of the place's Python; None for this one's.
    """
    with _lock:
        found: dict[str, Entry] = {}
        waiting = [each for name in names for each in _with_parents(name)]
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
            imported = imports.of_source(name, entry[1], entry[2])
            waiting += [each for one in imported for each in _with_parents(one)]
    return found


def of_function(data: bytes) -> set[str]:
    """Return the modules that a pickled function needs, by full names."""
    return _of_function(data)


def of_data(data: Any) -> set[str]:
    """Return the modules of the caller's own that a pickled value needs, and others."""
    with _lock:
        names = project.names() - {"entangle"}
    # Large ones hold none, mostly: this tells at once.
    seems = bool(names) and _pattern(names).search(data)
    return references.modules(data) if seems else set()


def _without_us(name: str, entry: Entry) -> Entry:
    """Return a module for a Python that is too old for Entangle.

    Its import may never be come to: so it fails when it is imported.
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


@functools.lru_cache(4)
def _pattern(names: frozenset[str]) -> re.Pattern[bytes]:
    """Match text in a pickle, as it is written there, that begins with a name."""
    joined = b"|".join(re.escape(name.encode()) for name in sorted(names))
    return re.compile(b"\\x8c.(?:" + joined + b")(?![A-Za-z0-9_])", re.DOTALL)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
