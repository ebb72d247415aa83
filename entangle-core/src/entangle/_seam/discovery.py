"""Finding the distributions that have a plugin, and finding out fast that none has."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from entangle._environ import variable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint

GROUP = "entangle"
DISABLE = "ENTANGLE_DISABLE_PLUGINS"
_HEADER = b"[entangle]"
_LONGEST = 1 << 20  # bytes of a file of entry points
_METADATA = (".dist-info", ".egg-info", "EGG-INFO")


class _Looked:
    """Where somebody has looked last, and whether there was anything."""

    path: ClassVar[list[str]] = []
    found: ClassVar[bool] = False


class Found(NamedTuple):
    """An entry point of the group, with where it is from."""

    entry: EntryPoint
    distribution: str
    version: str


_NONE: Final = frozenset[str]()


def disabled() -> frozenset[str] | None:
    """Return the names of the plugins that are switched off; None for all of them."""
    text = variable(DISABLE).strip()
    if not text:
        return _NONE
    if text.lower() in {"1", "true", "yes", "all", "*"}:
        return None
    names = (name.strip() for name in text.split(","))
    return frozenset(name for name in names if name and name != "0")


def wanted() -> bool:
    """Tell, fast, whether there may be a plugin that is not switched off.

    Metadata is looked at again when the path has changed.
    """
    if sys.path != _Looked.path:
        path = sys.path.copy()
        _Looked.found = may_exist()
        _Looked.path = path
    return _Looked.found and disabled() is not None


def may_exist() -> bool:
    """Tell whether any installed distribution may have a plugin.

    Reading all metadata by `importlib.metadata` takes 50 ms; every first run would
    pay that. This takes one, and errs on the side of yes.
    """
    return any(map(_may_hold, sys.path))


def _may_hold(path: str) -> bool:
    try:
        with os.scandir(path or ".") as folder:
            metadata = [
                entry.path for entry in folder if entry.name.endswith(_METADATA)
            ]
    except NotADirectoryError:
        return True  # an archive, which may hold anything
    except OSError:
        return False
    return any(map(_declares, metadata))


def _declares(metadata: str) -> bool:
    try:
        descriptor = os.open(metadata + "/entry_points.txt", os.O_RDONLY)
    except OSError:
        return False
    try:
        return _HEADER in os.read(descriptor, _LONGEST)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def found() -> Iterator[Found]:
    """Yield the entry points of all installed distributions, each once, in order.

    A distribution that is installed twice counts where Python finds it first.
    Metadata that can't be read is passed over.
    """
    from importlib import metadata

    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            # Broken metadata may have neither.
            known = distribution.metadata["Name"]
            name = str(known or "an unnamed distribution")
            entries = [
                entry for entry in distribution.entry_points if entry.group == GROUP
            ]
            version = str(distribution.metadata["Version"] or "")
        except Exception:  # noqa: S112 - broken metadata is its owner's
            continue
        if not known or name not in seen:
            seen.add(name)
            for entry in sorted(entries, key=lambda entry: entry.name):
                yield Found(entry, name, version)
