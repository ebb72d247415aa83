"""Which form a value has that may be anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeGuard


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Tell whether a value is a mapping, of whatever to whatever."""
    return isinstance(value, Mapping)


def is_several(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Tell whether a value is a list or a tuple, of whatever."""
    return isinstance(value, (list, tuple))


def is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Tell whether a value names a file."""
    return isinstance(value, (str, os.PathLike))
