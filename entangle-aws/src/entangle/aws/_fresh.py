"""What was made lately, of which AWS may not know everywhere yet."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_FRESH: Final = 60.0  # seconds in which what was made may be said not to be there
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between two questions


class Fresh:
    """Ends what was made lately, though AWS may say at first that it is not there.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, float] = {}

    def made(self, name: str) -> str:
        """Note that something was made just now; return its name."""
        now = time.monotonic()
        with self._lock:
            self._made[name] = now
            # In the order in which they came.
            for each in [*self._made]:
                if now - self._made[each] < _FRESH:
                    break
                del self._made[each]
        return name

    def ended(self, name: str, end: Callable[[str], bool | None]) -> bool:
        """End something; return whether it is over.

        Args:
            name: What.
            end: Ends it, and returns whether it is over; None if it is not there.
        """
        for pause in _PAUSES:
            over = end(name)
            if over is not None or not self._is(name):
                break
            time.sleep(pause)
        else:
            over = end(name)
        return over is None or over

    def _is(self, name: str) -> bool:
        with self._lock:
            made = self._made.get(name)
        return made is not None and time.monotonic() - made < _FRESH
