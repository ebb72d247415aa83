"""Values that are encoded before a call takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of
from entangle._graph.walk import edges_in
from entangle._worker import codec

from .arguments import SHARE, parcelled

if TYPE_CHECKING:
    from entangle._worker.attach import Parcel


def encoded_ahead(value: Any) -> Parcel | None:
    """Encode a value, not inside the monitor: large arrays are copied.

    Returns:
        It; None where it is not worth it, or not possible.

    Whoever can't be sent it fails with that, in its turn.
    """
    if (codec.simple(value) and _small(value)) or edges_in(value):
        return None
    try:
        blob = codec.encode(value)
    except codec.EncodeError:
        return None
    parcel = parcelled(blob.data, blob.buffers, value)
    try:
        parcel.publish()
    except (MemoryError, OSError):
        return None
    # What is not in shared memory by now is still the memory of the value.
    parcel.buffers = tuple([_own(buffer) for buffer in parcel.buffers])
    return parcel


def _own(buffer: Any) -> Any:
    if type(buffer) is not memoryview:
        return buffer
    return memoryview(bytes(buffer) if buffer.readonly else bytearray(buffer))


def _small(value: Any) -> bool:
    """Tell whether a simple value is sent with a call as cheaply as ahead of it."""
    kind = kind_of(value)
    if kind in codec.ATOMS:
        return not hasattr(kind, "__len__") or len(value) < SHARE
    parts: list[Any] = [*value, *value.values()] if kind is dict else list(value)
    return sum(len(part) for part in parts if isinstance(part, (str, bytes))) < SHARE
