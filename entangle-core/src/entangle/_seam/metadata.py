"""What installed distributions say of themselves, as far as it matters for plugins.

Of those that can have none nothing is read but a file of entry points, and for the
others a few lines are enough: `importlib.metadata`, which reads all of all, and is
slow to import, would take longer than all else that a first run does. Its rules are
kept to, and it is asked about archives.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP: Final = "entangle"

_HEADER = b"[entangle]"
_LONGEST = 1 << 20  # bytes of a file of entry points
_KINDS: Final = (".dist-info", ".egg-info", "EGG-INFO")
_FILES: Final = ("METADATA", "PKG-INFO")
_UNNAMED: Final = "an unnamed distribution"


class Distribution(NamedTuple):
    """A distribution that has a plugin, or may hide one that is found later.

    Attributes:
        key: What it is known by, however its name is spelled.
        name: Its name; empty if it has no plugin.
        version: Its version.
        entries: Names and values of its entry points of our group.
        where: The folder or archive on the path that it was found in.
    """

    key: str
    name: str
    version: str
    entries: list[tuple[str, str]]
    where: str


def may_declare(path: str) -> bool:
    """Tell whether something on the path may have a plugin; errs on the side of yes."""
    folders = _metadata(path)
    return folders is None or any(map(_declares, folders))


def distributions(path: str) -> Iterator[Distribution]:
    """Yield what is installed in a folder or archive, in order.

    Metadata that can't be read is passed over.
    """
    folders = _metadata(path)
    if folders is None:
        yield from _in_archive(path)
        return
    for folder in folders:
        key = _key(folder)
        if not _declares(folder):
            yield Distribution(key, "", "", [], path)
            continue
        try:
            name, version = _facts(Path(folder))
            text = Path(folder, "entry_points.txt").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        yield Distribution(key, name, version, list(_entries(text)), path)


def _metadata(path: str) -> list[str] | None:
    """List the metadata in a folder; None for an archive, which may hold anything."""
    try:
        with os.scandir(path or ".") as folder:
            return [entry.path for entry in folder if entry.name.endswith(_KINDS)]
    except NotADirectoryError:
        return None
    except (OSError, ValueError, TypeError):
        return []  # imports pass over it, too


def _declares(folder: str) -> bool:
    try:
        descriptor = os.open(folder + "/entry_points.txt", os.O_RDONLY)
    except OSError:
        return False
    try:
        return _HEADER in os.read(descriptor, _LONGEST)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _key(folder: str) -> str:
    """Return what a distribution is known by, as far as its folder's name says."""
    path = Path(folder)
    # An egg's metadata has no name of its own.
    stem = path.stem if path.suffix else path.parent.stem
    return _normal(stem.partition("-")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _facts(folder: Path) -> tuple[str, str]:
    """Return name and version; broken metadata may have neither."""
    facts = {"name": "", "version": ""}
    for file in map(folder.joinpath, _FILES):
        if not file.exists():
            continue
        # An author's name may be written otherwise.
        for line in file.read_text("utf-8", errors="replace").splitlines():
            if not line.strip():
                break  # here the description begins
            label, _, value = line.partition(":")
            if not facts.get(label.lower(), "-"):
                facts[label.lower()] = value.strip()
    return facts["name"] or _UNNAMED, facts["version"]


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield the entry points of our group from a file of them."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == GROUP and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name.strip(), _without_extras(value)


def _without_extras(value: str) -> str:
    """Return what an entry point names; extras ask for nothing any more."""
    return value.partition("[")[0].strip()


def _in_archive(path: str) -> Iterator[Distribution]:
    from importlib import metadata

    for number, each in enumerate(metadata.distributions(path=[path])):
        try:
            name = str(each.metadata["Name"] or _UNNAMED)
            version = str(each.metadata["Version"] or "")
            entries = [
                (entry.name, _without_extras(entry.value))
                for entry in each.entry_points
                if entry.group == GROUP
            ]
        except Exception:  # noqa: S112 - broken metadata is its owner's
            continue
        key = f"{path} {number}" if name == _UNNAMED else _normal(name)
        yield Distribution(key, name, version, entries, path)


def everywhere() -> Iterator[Distribution]:
    """Yield what is installed on Python's path, in its order."""
    for path in sys.path:
        yield from distributions(path)
