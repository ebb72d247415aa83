"""Functions as bytes: by the name under which they can be imported, else by value."""

from __future__ import annotations

from _pickle import loads

from . import references
from .codec import DecodeError, describe, dump
from .mains import enter_main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .snapshot import Snapshot

__all__ = [
    "FunctionCache",
    "decode_function",
    "encode_function",
    "enter_main",
    "function_reference",
]

_MOST_FUNCTIONS = 1024
_MOST_BYTES = 64_000_000


def function_reference(fn: Callable[..., Any]) -> tuple[str, str] | None:
    """Return the module and qualified name by which `fn` can be imported.

    The name leads to `fn`, or to a task whose function is `fn`. None for what exists
    in this process only: in ``__main__``, in a closure, as a lambda, as an object.
    """
    found = references.lookup(fn)
    return None if found is None else found[:2]


def encode_function(fn: Callable[..., Any]) -> bytes:
    """Encode anything callable, by reference where it can be imported.

    Raises:
        EncodeError: Something that it reaches cannot be pickled, or its by-value
            globals exceed 1 MB; the path names the global and the function.
    """
    return dump(fn, "")


def decode_function(data: bytes) -> Callable[..., Any]:
    """Return the callable that `encode_function` encoded.

    Raises:
        DecodeError: It cannot be rebuilt here, for want of a module for example.
    """
    try:
        function: Callable[..., Any] = loads(data)
    except Exception as error:
        raise DecodeError(describe(error)) from error
    return function


class FunctionCache:
    """Encodes functions once, for as long as nothing that they reach has changed.

    A by-value function that reaches something mutable is encoded each time. Holds
    the most recent functions, at most 1,024 and 64 MB of encodings. Thread-safe.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._entries: dict[
            int, tuple[Callable[..., Any], Snapshot, tuple[bytes, bytes]]
        ] = {}
        self._bytes = 0

    def encoded(self, fn: Callable[..., Any]) -> tuple[bytes, bytes]:
        """Return the digest (16 bytes) and the encoding of `fn`.

        Raises:
            EncodeError: As `encode_function`.
        """
        entry = self._entries.get(id(fn))
        if entry is not None and entry[0] is fn and entry[1].valid():
            return entry[2]
        return self._encoded(fn)

    def _encoded(self, fn: Callable[..., Any]) -> tuple[bytes, bytes]:
        from .digests import digest
        from .snapshot import Snapshot

        # First: what changes while it is encoded makes the snapshot invalid.
        snapshot = Snapshot.of(fn)
        data = encode_function(fn)
        result = digest(data), data
        if snapshot is not None:
            self._bytes += len(data)
            if len(self._entries) >= _MOST_FUNCTIONS or self._bytes > _MOST_BYTES:
                self._entries.clear()
                self._bytes = len(data)
            self._entries[id(fn)] = (fn, snapshot, result)
        return result
