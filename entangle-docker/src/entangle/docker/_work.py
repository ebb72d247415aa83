"""What calls in containers do while they are measured; containers import it."""

from __future__ import annotations

from typing import Any


def nothing(value: int) -> int:
    """Do nothing."""
    return value


def size(data: Any) -> int:
    """Take an array."""
    return int(data.nbytes)


def made(count: int) -> Any:
    """Make an array of bytes."""
    import numpy as np

    return np.ones(count, np.uint8)


def has_numpy() -> bool:
    """Tell whether arrays can be made."""
    from importlib.util import find_spec

    return find_spec("numpy") is not None
