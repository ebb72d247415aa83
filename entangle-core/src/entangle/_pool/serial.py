"""A thread that runs what it is given, one after the other."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from entangle._log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log("entangle.pool")

_LINGER = 1.0  # seconds a thread without work stays


class Serial:
    """Runs functions in order on a thread of its own, off everybody's critical path.

    The thread is a daemon, starts with the first function, and ends a second after
    the last. What a function raises is logged. Thread-safe.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have ``function(*args)`` run, after everything given before it."""
        with self._changed:
            self._work.append((function, args))
            if self._thread is not None or self._start():
                self._changed.notify()
                return
        # Where no thread can be had, late is worse than here.
        self._run_here()

    def _start(self) -> bool:
        thread = threading.Thread(
            target=self._run, name=f"entangle-{self._name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            log.debug("no thread for the %s", self._name, exc_info=True)
            return False
        self._thread = thread
        return True

    def _run_here(self) -> None:
        while self._work:
            try:
                function, args = self._work.popleft()
            except IndexError:
                return
            try:
                function(*args)
            except BaseException:
                log.exception("a callback failed")

    def close(self, timeout: float = 1.0) -> None:
        """Run what is left, then end the thread; give up on one that is stuck."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._work and not self._closed:
                    self._changed.wait(_LINGER)
                if not self._work:
                    self._thread = None
                    return
                function, args = self._work.popleft()
            try:
                function(*args)
            except BaseException:
                log.exception("a callback failed")
            del function, args
