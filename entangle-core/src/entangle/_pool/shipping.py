"""Functions on their way to workers: encoded once, sent once to each worker."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from entangle._worker import functions

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_KEPT = 256
_SMOOTHING = 0.25
_FEW = 8  # calls after which it is forgotten that one has run a graph


class Shipped:
    """One encoded function, and how long its calls take.

    ``mean_ns`` is a moving average of the time its bodies took; None before the
    first. ``nests`` is more than 0 if one of the last few has waited for a graph of its
    own, ``prints`` once one has printed something. All are written inside the monitor.
    """

    __slots__ = (
        "__weakref__",
        "by_value",
        "data",
        "digest",
        "mean_ns",
        "nests",
        "number",
        "prints",
    )

    def __init__(
        self, number: int, digest: bytes, data: bytes, *, by_value: bool
    ) -> None:
        self.number = number
        self.digest = digest
        self.data = data
        self.by_value = by_value
        self.mean_ns: float | None = None
        self.nests = 0
        self.prints = False

    def took(self, *nanoseconds: int) -> None:
        """Take note of bodies' times: slow ones count at once, quick ones slowly."""
        mean = self.mean_ns
        for each in nanoseconds:
            if mean is None or each > mean * 8:
                mean = each
            else:
                mean += (each - mean) * _SMOOTHING
        self.mean_ns = mean
        if self.nests:
            self.nests = max(0, self.nests - len(nanoseconds))

    def waits(self) -> None:
        """Take note that a call waits for a graph of its own."""
        self.nests = _FEW


class Shipper:
    """Numbers functions by what they are encoded to. Thread-safe.

    What nobody has used for long is forgotten, here and in the workers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache = functions.FunctionCache()
        self._known: weakref.WeakValueDictionary[bytes, Shipped] = (
            weakref.WeakValueDictionary()
        )
        self._recent: OrderedDict[bytes, Shipped] = OrderedDict()
        self._last: tuple[tuple[bytes, bytes], Shipped] | None = None
        self._count = 0

    def ship(self, function: Callable[..., Any]) -> Shipped:
        """Return a function in its present state, ready to be sent.

        Raises:
            EncodeError: it, or what it reaches, doesn't pickle or is too large.
        """
        encoded = self._cache.encoded(function)
        last = self._last
        if last is not None and last[0] is encoded:
            return last[1]  # the same function in the same state as just now
        by_value = functions.function_reference(function) is None
        shipped = self.adopt(*encoded, by_value=by_value)
        self._last = encoded, shipped
        return shipped

    def adopt(self, digest: bytes, data: bytes, *, by_value: bool) -> Shipped:
        """Return the function that was encoded to ``data``, here or elsewhere."""
        with self._lock:
            shipped = self._known.get(digest)
            if shipped is None:
                self._count += 1
                shipped = Shipped(self._count, digest, data, by_value=by_value)
                self._known[digest] = shipped
            self._recent[digest] = shipped
            self._recent.move_to_end(digest)
            if len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
            return shipped

    def forgotten(self, numbers: set[int]) -> list[int]:
        """Return those of the numbers that no longer name a function."""
        with self._lock:
            alive = {shipped.number for shipped in self._known.values()}
        return sorted(numbers - alive)
