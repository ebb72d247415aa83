"""Values of options that can't be meant, though their types are right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ._settings import split_mode
from ._sizes import in_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._settings import Settings

_PLATFORM: Final = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+){0,2}", re.IGNORECASE)
_NAME: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?{_NAME}(?:/{_NAME})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-zA-Z0-9_+.-]+:[0-9a-fA-F]{32,})?"
)


def check(settings: Settings) -> None:
    """Refuse what types can't say.

    Raises:
        ValueError: an option has a value that can't be meant.
    """
    if not _REFERENCE.fullmatch(settings.image):
        raise ValueError(
            f"image={settings.image!r} is no name of an image, as 'python:3.12-slim' is"
        )
    if settings.platform and not _PLATFORM.fullmatch(settings.platform):
        raise ValueError(f"platform={settings.platform!r} is none, as 'linux/arm64' is")
    if not settings.network:
        raise ValueError("network='' is none: 'none' is a container without one")
    for name in settings.environment:
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"environment: {name!r} is no name of a variable")
    _check_packages(settings.packages)
    _check_amounts(settings)
    _check_paths(settings)


def _check_packages(packages: Sequence[str]) -> None:
    for package in packages:
        if not package.strip() or package.strip().startswith("-"):
            raise ValueError(
                f"packages: {package!r} is no requirement, as 'numpy' or 'numpy>=2' is; "
                "options belong into pip's own configuration"
            )
        if package.startswith((".", "/", "~")):
            raise ValueError(
                f"packages: {package!r} is a path: build an image with it, or a wheel "
                "in a folder that find-links of pip's configuration names"
            )


def _check_amounts(settings: Settings) -> None:
    for option in ("memory", "shm_size"):
        size = getattr(settings, option)
        if size is not None:
            in_bytes(size, option)
    if settings.cpus is not None and not settings.cpus > 0:
        raise ValueError(f"cpus={settings.cpus!r} must be more than none")
    if isinstance(settings.gpus, int) and settings.gpus < 1:
        raise ValueError(
            f"gpus={settings.gpus!r}: say how many, 'all', or leave it out"
        )
    for path, size in settings.tmpfs.items():
        in_bytes(size, f"tmpfs[{path!r}]")


def _check_paths(settings: Settings) -> None:
    for source, target in settings.mounts.items():
        if not source:
            raise ValueError("mounts: '' is neither a folder nor a volume")
        _require_absolute(split_mode(target)[0], f"mounts[{source!r}]")
    for path in settings.tmpfs:
        _require_absolute(path, "tmpfs")
    if settings.workdir:
        _require_absolute(settings.workdir, "workdir")


def _require_absolute(path: str, option: str) -> None:
    if not path.startswith("/"):
        raise ValueError(
            f"{option}: {path!r} must be an absolute path in the container"
        )
