"""The values between calls: objects of this process, or still encoded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from entangle._graph.walk import edges_in, substitute
from entangle._worker import codec
from entangle.errors import TaskError

if TYPE_CHECKING:
    from entangle._worker.attach import Parcel


class Encoded:
    """A value that came from a process and is decoded when this process needs it.

    Process calls that take it get its bytes, and so copies of their own; everything
    in this process shares the one object. Thread-safe.
    """

    __slots__ = ("_known", "_lock", "_object", "parcel", "token")

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self._known = False
        self._object: Any = None
        self._lock = threading.Lock()
        # What stands for it in the keys of cached calls, once one has asked.
        self.token: bytes | None = None

    @classmethod
    def of(cls, parcel: Parcel, value: Any) -> Encoded:
        """Make one of an object of this process."""
        made = cls(parcel)
        made._object, made._known = value, True
        return made

    def object(self) -> Any:
        """Return the object.

        Raises:
            TaskError: it can't be rebuilt in this process.
        """
        with self._lock:
            if not self._known:
                try:
                    self._object = codec.decode(self.parcel)
                except codec.DecodeError as error:
                    raise TaskError(
                        type(error).__name__,
                        "a value was returned that can't be rebuilt in the calling "
                        f"process: {error.reason}",
                    ) from error
                self._known = True
            return self._object


class Parts:
    """Lists, tuples, dicts and sets with encoded values inside."""

    __slots__ = ("structure",)

    def __init__(self, structure: Any) -> None:
        self.structure = structure


ENCODED = frozenset((Encoded, Parts))


def assemble(structure: Any, lookup: Any) -> Any:
    """Put values in the place of edges.

    Returns:
        The structure itself where nothing in it is encoded, else `Parts`.
    """
    value = substitute(structure, lookup)
    if type(value) not in ENCODED and edges_in(value, ENCODED):
        return Parts(value)
    return value


def objects(value: Any) -> Any:
    """Return a value as an object of this process.

    Raises:
        TaskError: a part of it can't be rebuilt here.
    """
    if type(value) is Encoded:
        return value.object()
    if type(value) is Parts:
        return substitute(value.structure, objects, ENCODED)
    return value


def parcels(value: Any) -> Any:
    """Return a value with all that is encoded as parcels to be sent on."""
    if type(value) is Encoded:
        return value.parcel
    if type(value) is Parts:
        return substitute(value.structure, parcels, ENCODED)
    return value
