"""URLs as messages may show them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from entangle.secrets import HIDDEN, scrub

# Names of query parameters whose values nobody wants to see in a log.
_TELLING: Final = re.compile(
    r"(?i)token|secret|passw|pwd|credential|session|api[_-]?key"
    r"|auth(?!or)|sig$|signature$|^key$"
)
# Names of parameters and headers that hold nothing but secrets.
_SECRET: Final = re.compile(
    r"(?i)(.*[_-])?(token|secret|password|passwd|pwd|api[_-]?key|signature"
    r"|authorization|cookie)"
)
_LONGEST: Final = 500


def shown(url: str) -> str:
    """Return a URL without user, password, and what looks secret or is known to be."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return scrub(url)[:_LONGEST]
    pieces: list[str] = []
    for piece in parts.query.split("&") if parts.query else ():
        name, equals, _ = piece.partition("=")
        telling = equals and _TELLING.search(name)
        pieces.append(f"{name}={HIDDEN}" if telling else piece)
    host = parts.netloc.rpartition("@")[2]
    text = urlunsplit((parts.scheme, host, parts.path, "&".join(pieces), ""))
    text = scrub(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}{HIDDEN}"


def is_secret(name: str) -> bool:
    """Tell whether a parameter or header of that name holds nothing but a secret."""
    return bool(_SECRET.fullmatch(name))
