"""Ending what blocks a thread when nobody wants it any more."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Aborted(Exception):  # noqa: N818 - told to nobody but us
    """What was going on is not wanted any more."""


class Aborts:
    """The ways to end what is going on now; used by any thread.

    Once told to `abort`, whatever is begun later is ended at once, too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[object, Callable[[], object]] = {}
        self._aborted = False

    @contextmanager
    def by(self, end: Callable[[], object]) -> Iterator[None]:
        """Have something ended by a function, called on whichever thread aborts.

        Raises:
            Aborted: it was ended, before or while it went on.
        """
        key = object()
        with self._lock:
            if self._aborted:
                raise Aborted
            self._ends[key] = end
        try:
            yield
        except Exception as error:
            if self._aborted:
                raise Aborted from error
            raise
        finally:
            with self._lock:
                self._ends.pop(key, None)
        if self._aborted:
            raise Aborted

    @contextmanager
    def closing(self, stream: Any) -> Iterator[None]:
        """Have an answer of the engine's that is being read closed.

        The engine ends a pull whose reader is gone.
        """
        with self.by(stream.close):
            yield

    @property
    def aborted(self) -> bool:
        """Whether anything that goes on is unwanted."""
        return self._aborted

    def abort(self) -> None:
        """End everything that goes on, and all that is begun later."""
        with self._lock:
            self._aborted = True
            ends = list(self._ends.values())
        for end in ends:
            # It may have come to its end by itself.
            with suppress(Exception):
                end()
