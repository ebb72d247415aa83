"""The entries as people look at them: listed, pruned, cleared; programs may go on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from . import entry, room
from .store import HITS_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator

_HITS: Final = (1 << HITS_BITS) - 1


class Listed(NamedTuple):
    """One entry.

    Attributes:
        path: Its file.
        function: The name of the task, with its module.
        nbytes: The size of the file, in bytes.
        made: When it was kept, in seconds since the epoch.
        used: When it was used last, likewise.
        hits: How often it was used.
    """

    path: str
    function: str
    nbytes: int
    made: float
    used: float
    hits: int


def entries(folder: str) -> Iterator[Listed | str]:
    """Yield all entries; of a damaged one the path."""
    for row in room.rows(folder):
        try:
            # Looking at it is no use of it.
            descriptor = os.open(row.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # gone meanwhile
        except OSError:
            yield row.path
            continue
        try:
            key = bytes.fromhex("".join(row.path.split("/")[-2:]))
            description = entry.read(descriptor, key).description
        except (entry.Damaged, OSError):
            yield row.path
        else:
            yield Listed(
                row.path,
                f"{description.module}.{description.task}",
                row.nbytes,
                description.made,
                (row.stamp & ~_HITS) / 1e9,
                row.stamp & _HITS,
            )
        finally:
            os.close(descriptor)


class Pruned(NamedTuple):
    """What was removed.

    Attributes:
        unused: How many entries, since they were not used for long.
        damaged: How many files that were no whole entries, or none of ours.
        left: How many bytes are left.
    """

    unused: int
    damaged: int
    left: int


def prune(folder: str, most: int, before: float) -> Pruned:
    """Remove what is damaged or nobody's, what was not used for long, what is too much.

    Args:
        folder: Where the entries are.
        most: How many bytes may be left.
        before: Entries not used since then go, in seconds since the epoch.
    """
    damaged = sum(map(room.remove, list(room.strays(folder))))
    unused = 0
    for each in entries(folder):
        if isinstance(each, str):
            damaged += room.remove(each)
        elif each.used < before:
            unused += room.remove(each.path)
    removed, left = room.shrink(folder, most)
    return Pruned(unused + removed, damaged, left)


def clear(folder: str) -> int:
    """Remove all entries and return how many there were."""
    for path in list(room.strays(folder)):
        room.remove(path)
    return sum(room.remove(row.path) for row in list(room.rows(folder)))
