"""Parts of payloads that lie in a store once, however many jobs need them."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import Store


class Uploads:
    """Puts each content into the store once. Thread-safe.

    Args:
        store: Where to.
        prefix: What the keys begin with.
        seconds: How long the addresses have to be good.
    """

    def __init__(self, store: Store, prefix: str, seconds: float) -> None:
        self._store = store
        self._prefix = prefix
        self._seconds = seconds
        self._lock = threading.Lock()
        self._there: dict[str, Future[float]] = {}

    def place(self, data: Any, digest: str = "") -> dict[str, str]:
        """Return where some bytes lie, after having put them there if need be.

        Args:
            data: The bytes.
            digest: Their SHA-256 in hexadecimal, if it is known, and they can't change.

        Raises:
            Exception: What the store raises; the next who asks tries again.
        """
        if not digest:
            data = bytes(data)  # what may change from here on
            digest = hashlib.sha256(data).hexdigest()
        key = f"{self._prefix}{digest}"
        with self._lock:
            there = self._there.get(digest)
            # What is old may have been removed by a rule of the store's own.
            old = there is not None and there.done() and there.result() < self._oldest()
            mine = there is None or old
            if there is None or old:
                there = self._there[digest] = Future()
        if mine:
            try:
                self._store.put(key, bytes(data))
            except BaseException as error:
                with self._lock:
                    del self._there[digest]
                there.set_exception(error)
                raise
            there.set_result(time.monotonic())
        there.result()
        return {"url": self._store.read_url(key, self._seconds), "sha256": digest}

    def _oldest(self) -> float:
        return time.monotonic() - self._seconds
