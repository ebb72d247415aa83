"""How long credentials last that boto3 has found."""

from __future__ import annotations

import math
from typing import Any, Final

_MOST: Final = 1 << 20  # seconds: nothing signed is good for so long


def seconds(credentials: Any) -> float:
    """Return for how many seconds credentials are good; infinity if none can know.

    Args:
        credentials: What a session of boto3's has, or None. Those that botocore renews
            tell only whether they are to be renewed so many seconds before their end.
    """
    soon = getattr(credentials, "refresh_needed", None)
    if soon is None:
        return math.inf
    credentials.get_frozen_credentials()  # some are fetched, or renewed, by this
    low, high = 0, _MOST
    if not soon(high):
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if soon(middle) else (middle, high)
    return float(low)
