"""Documents: plain facts with parts of bytes, as one row of bytes."""

from __future__ import annotations

import json
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_LENGTH = Struct("<Q")


class DamagedError(ValueError):
    """Bytes that are no document."""


def write(facts: Mapping[str, Any], parts: Sequence[Any] = ()) -> bytes:
    """Return a document.

    Args:
        facts: What JSON can say.
        parts: Bytes, or buffers of bytes.
    """
    lengths = [memoryview(part).nbytes for part in parts]
    head = json.dumps({**facts, "lengths": lengths}).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *parts))


def read(data: Any) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the facts and the parts of a document; the parts are views of it.

    Raises:
        DamagedError: It is none, or was cut.
    """
    view = memoryview(data)
    try:
        (length,) = _LENGTH.unpack_from(view)
        position = _LENGTH.size + length
        facts = json.loads(bytes(view[_LENGTH.size : position]))
        lengths = facts.pop("lengths")
        parts: list[memoryview] = []
        for size in lengths:
            parts.append(view[position : position + size])
            position += size
    except Exception as error:
        raise DamagedError(f"it is no document: {error}") from error
    if position != len(view):
        raise DamagedError(f"it has {len(view)} bytes instead of {position}")
    return facts, parts
