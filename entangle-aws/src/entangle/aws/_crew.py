"""Threads that wait for AWS."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Crew:
    """Up to so many threads, started when they are needed. Thread-safe.

    They are daemons: a program does not wait for what nobody waits for any more.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._works: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def run(self, work: Callable[[], None]) -> None:
        """Have something done by the next thread that is free.

        Raises:
            RuntimeError: After `close`.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("nothing more is done after it was closed")
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                name = f"entangle-aws-{self._threads}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._works.put(work)

    def close(self) -> None:
        """Let the threads end when all is done."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._works.put(None)

    def _serve(self) -> None:
        while (work := self._works.get()) is not None:
            work()
            with self._lock:
                self._idle += 1
