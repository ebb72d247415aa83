"""Versions of what takes part in a run."""

import platform
from importlib import metadata


def version_of(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None without metadata."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def version_line() -> str:
    """Return Entangle's version and Python's in one line."""
    own = version_of("entangle-core") or "unknown version (no package metadata)"
    return f"entangle {own}, Python {platform.python_version()}, {platform.system()}"
