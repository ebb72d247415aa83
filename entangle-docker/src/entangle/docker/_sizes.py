"""Sizes of memory as people write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)", re.IGNORECASE)


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
        size = float(match[1]) * 1024 ** _UNITS[match[2].lower()]
    if not size > 0:
        raise ValueError(f"{option}={size!r} must be more than nothing")
    return int(size)


def shown(size: float) -> str:
    """Show a size for people, in decimal units as Docker does."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - the step between units
            break
        size /= 1000
    else:
        unit = "TB"
    return f"{size:.3g} {unit}"
