"""The directory for kept values: where it is, whose, how big it may become.

Loading an entry is unpickling it, which can do anything that the user can: that nobody
else can have put it there is what its directory's owner and mode vouch for.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import lru_cache
from typing import Final

from entangle.errors import CacheDirectoryError, OptionError

DIRECTORY: Final = "ENTANGLE_CACHE_DIR"
SIZE: Final = "ENTANGLE_CACHE_SIZE"
DEFAULT_SIZE: Final = 10_000_000_000
# Of the format of entries: another one has a folder of its own.
EDITION: Final = "v1"

_UNITS: Final = {"": 1, "b": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("kmgt", 1)
    for unit, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def path() -> str:
    """Return the directory that the environment asks for; it need not exist.

    Raises:
        CacheDirectoryError: there is no home directory to put it in.
    """
    given = os.environ.get(DIRECTORY)
    if given:
        return os.path.abspath(given)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # As its specification says, a relative one is to be ignored.
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
        if not os.path.isabs(base):
            raise CacheDirectoryError(
                path="~/.cache", reason="this user has no home directory"
            )
    return os.path.join(base, "entangle")


def checked() -> str:
    """Return the folder for entries, made if it can be; every run asks.

    Raises:
        CacheDirectoryError: it is no directory, somebody else's, or others may write
            to it.
    """
    directory = path()
    try:
        _require_own(directory)
    except FileNotFoundError:
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            _require_own(directory)
        except (FileExistsError, NotADirectoryError):
            raise CacheDirectoryError(
                path=directory, reason="a part of that path is a file"
            ) from None
        except OSError:
            pass  # nothing is found there, and saving will say why nothing is kept
    except NotADirectoryError:
        raise CacheDirectoryError(
            path=directory, reason="a part of that path is a file"
        ) from None
    except PermissionError:
        raise CacheDirectoryError(
            path=directory, reason="this user may not look into it"
        ) from None
    folder = os.path.join(directory, EDITION)
    with suppress(OSError):
        _require_own(folder)
    return folder


def existing() -> str | None:
    """Return the folder for entries if there is one.

    Raises:
        CacheDirectoryError: as for `checked`.
    """
    if not os.path.lexists(path()):
        return None
    folder = checked()
    return folder if os.path.isdir(folder) else None


def _require_own(directory: str) -> None:
    """Refuse a directory that others could put something into.

    Raises:
        CacheDirectoryError: it is one.
        OSError: it can't be looked at.
    """
    found = os.stat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise CacheDirectoryError(path=directory, reason="it is no directory")
    if found.st_uid != os.geteuid():
        raise CacheDirectoryError(
            path=directory,
            reason=f"it belongs to another user ({found.st_uid}), who could put "
            "anything there for this program to run",
        )
    if found.st_mode & _OTHERS:
        raise CacheDirectoryError(
            path=directory,
            reason="others may write to it, and could put anything there for this "
            f"program to run; chmod 700 {directory} if it is yours",
        )


def size() -> int:
    """Return how many bytes all entries may take together.

    Raises:
        OptionError: the variable makes no sense.
    """
    return _size(os.environ.get(SIZE, ""))


@lru_cache(4)
def _size(text: str) -> int:
    return parsed_size(text, SIZE) if text else DEFAULT_SIZE


def parsed_size(text: str, name: str) -> int:
    """Read a size such as ``500MB`` or ``2GiB``.

    Args:
        text: What was given.
        name: What it was given as, for the error.

    Raises:
        OptionError: it is no size.
    """
    plain = text.strip().lower()
    digits = plain.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = _UNITS.get(plain[len(digits) :].strip())
    try:
        number = float(digits) * unit if unit is not None else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < 2**63:
        raise OptionError(
            f"{name}={text!r} is no size: give bytes, or a number with kB, MB, GB, TB, "
            "KiB, MiB, GiB or TiB",
            decorator="",
            option=name,
        )
    return int(number)
