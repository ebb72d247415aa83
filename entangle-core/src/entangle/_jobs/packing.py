"""A call as the document that its job reads."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._worker import codec, documents, functions
from entangle.errors import UnpicklableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._seam.call import Call

LARGE: Final = 256 << 10
"""Bytes from which on a part of a call lies by itself, for all jobs that need it."""


class Packed(NamedTuple):
    """A call, encoded.

    Attributes:
        parts: The function, the pickled arguments, their buffers.
        readonly: Of the buffers, whether they were read-only.
        is_async: Whether what the function returns is to be awaited.
    """

    parts: tuple[Any, ...]
    readonly: tuple[bool, ...]
    is_async: bool

    @property
    def nbytes(self) -> int:
        """The size of all parts together, in bytes."""
        return sum(memoryview(part).nbytes for part in self.parts)


def pack(call: Call) -> Packed:
    """Encode a call's function and arguments.

    Raises:
        UnpicklableError: One of them can't be sent; says which part.
    """
    try:
        function = functions.encode_function(call.function)
        args = tuple(map(_apart, call.args))
        kwargs = {name: _apart(each) for name, each in (call.kwargs or {}).items()}
        blob = codec.encode((args, kwargs), "arguments")
    except codec.EncodeError as error:
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=call.name
        ) from error
    data, *buffers = codec.plain((blob.data, *blob.buffers))
    readonly = tuple(memoryview(buffer).readonly for buffer in buffers)
    return Packed((function, data, *buffers), readonly, call.options.is_async)


def _apart(value: Any) -> Any:
    """Have large bytes travel beside the pickle, where jobs can share them."""
    if type(value) is bytes and len(value) >= LARGE:
        return pickle.PickleBuffer(value)
    return value


def document(
    packed: Packed,
    facts: dict[str, Any],
    place: Callable[[Any], dict[str, str]] | None,
) -> bytes:
    """Write the document of a call.

    Args:
        packed: The call.
        facts: What else its job has to know.
        place: Puts a large part where jobs find it; None to have all in one.
    """
    places: list[dict[str, str] | None] = []
    here: list[Any] = []
    for part in packed.parts:
        if place is not None and memoryview(part).nbytes >= LARGE:
            places.append(place(part))
        else:
            places.append(None)
            here.append(part)
    more = {
        "parts": places,
        "readonly": packed.readonly,
        "async": packed.is_async,
        "python": sys.version_info[:2],
    }
    return documents.write({**facts, **more}, here)
