"""Which version of Python a place is likely to have, before anything runs there."""

from __future__ import annotations

import re
import sys
from typing import Final

_OFFICIAL: Final = "public.ecr.aws/docker/library/python"
_NAMED: Final = re.compile(r"(?:^|/)python(3\.\d+)$")
_TAGGED: Final = re.compile(r"(?:^|/)python:(3\.\d+)(?![\d])")
_NEWEST: Final = (3, 14)  # of which there is an image for certain
AMAZON_LINUX: tuple[int, int] | None = (3, 9)
"""What Amazon Linux 2023 calls ``python3``, for as long as there is one."""


def image() -> str:
    """Return the image with the version of Python that this one has."""
    major, minor = min(sys.version_info[:2], _NEWEST)
    return f"{_OFFICIAL}:{major}.{minor}-slim"


def of_name(python: str) -> tuple[int, int] | None:
    """Return the version that an interpreter is called by, if it is."""
    return _version(_NAMED.search(python))


def of_image(name: str) -> tuple[int, int] | None:
    """Return the version that an official image of Python, or a copy, has by its tag."""
    return _version(_TAGGED.search(name))


def _version(found: re.Match[str] | None) -> tuple[int, int] | None:
    if found is None:
        return None
    major, _, minor = found[1].partition(".")
    return int(major), int(minor)
