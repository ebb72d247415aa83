"""Sizes of memory as people write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)", re.IGNORECASE)
_STEP: Final = 1000


def in_bytes(size: float | str, option: str) -> int:
    """Return a size in bytes: a number, or a text like ``'512m'`` or ``'2 GB'``.

    Units are powers of 1,024, as Docker's own are.

    Raises:
        ValueError: it is no size, or not positive.
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size.strip())
        if match is None:
            raise ValueError(
                f"{option}={size!r} is no size: write bytes, or a text like '512m' or '2GB'"
            )
        count = float(match[1]) * 1024.0 ** _UNITS[match[2].lower()]
    else:
        count = size
    if not count > 0:
        raise ValueError(f"{option}={size!r} must be more than nothing")
    return int(count)


def shown(size: float) -> str:
    """Show a size for people, in decimal units as Docker does."""
    units = ["TB", "GB", "MB", "kB", "B"]
    unit = units.pop()
    while size >= _STEP and units:
        size, unit = size / _STEP, units.pop()
    return f"{size:.3g} {unit}"
