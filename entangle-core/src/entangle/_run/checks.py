"""What may be asked of a run."""

from __future__ import annotations

from typing import Any


def check(workers: Any, timeout: Any) -> None:
    """Refuse options of a run that make no sense.

    Raises:
        TypeError, ValueError: they are no number, or too small.
    """
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
            raise TypeError(f"timeout={timeout!r}: must be a number of seconds")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: a run needs more than 0 seconds")
    if workers is not None:
        if isinstance(workers, bool) or not isinstance(workers, int):
            raise TypeError(f"workers={workers!r}: must be a whole number of calls")
        if workers < 1:
            raise ValueError(f"workers={workers!r}: a run needs at least 1")
