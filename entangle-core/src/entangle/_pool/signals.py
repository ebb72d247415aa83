"""Keeping Ctrl-C out of the middle of a state change."""

from __future__ import annotations

import _thread
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

# The C half of `signal`, which makes no enums: 31 look-ups cost 3 us.
_signal: Any = import_module("_signal")
_SIGNALS = tuple(range(1, 32))
_DEFAULT: Any = _signal.default_int_handler


class _Looked:
    """The handlers that somebody has looked at last, and what they mean."""

    handlers: ClassVar[list[Any]] = []
    safe: ClassVar[bool] = False


def _none_of_the_users() -> bool:
    """Tell whether all handlers are the interpreter's own."""
    handlers: list[Any] = list(map(_signal.getsignal, _SIGNALS))
    if handlers != _Looked.handlers:
        # None: not installed by Python; otherwise 0 and 1 are the C defaults.
        safe = not any(
            callable(handler) and handler is not _DEFAULT for handler in handlers
        )
        _Looked.safe = safe
        _Looked.handlers = handlers
    return _Looked.safe


class InterruptGuard:
    """Defers SIGINT while its thread changes state that others rely on.

    Only the main thread runs Python signal handlers, and these may raise between any
    two instructions. In the main thread the guard swaps Python's own SIGINT handler
    for one that takes a note. If any other Python-level handler is installed nothing
    can be guaranteed: then `safe` is False and the caller must leave state changes to
    another thread.

    Leaving the guard raises the KeyboardInterrupt that was held back, unless the
    caller took it with `take`.
    """

    __slots__ = ("_notify", "_swapped", "noted", "safe")

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.safe = True
        self.noted = False
        self._swapped = False
        self._notify = notify

    def __enter__(self) -> Self:
        if _thread.get_ident() == threading.main_thread().ident:
            self.safe = _none_of_the_users()
            if self.safe and _signal.getsignal(_signal.SIGINT) is _DEFAULT:
                _signal.signal(_signal.SIGINT, self._note)
                self._swapped = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._swapped:
            self._swapped = False
            _signal.signal(_signal.SIGINT, _DEFAULT)
        if self.noted and error is None:
            raise KeyboardInterrupt

    def take(self) -> bool:
        """Return whether an interrupt was noted, and forget it."""
        noted, self.noted = self.noted, False
        return noted

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.noted = True
        if self._notify is not None:
            self._notify()
