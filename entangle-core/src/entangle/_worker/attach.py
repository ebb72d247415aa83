"""Encoded values as parts of a bigger message, decoded where they are needed.

A `Parcel` inside the arguments of a call is not pickled into the message: while the
arguments are encoded it is taken out and its buffers travel beside them (or have
travelled before, for one that several calls share). The far side puts a fresh copy
of the value in its place; the same parcel twice in one call stays one object.
"""

from __future__ import annotations

import _thread
import sys

from . import codec, frames, pieces
from .pieces import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Union

    from .codec import Buffer
    from .frames import Frame

    Active = Union["Collector", "Attached"]

# thread -> what is at work in it
_active: dict[int, Active] = {}


class Parcel(codec.Blob):
    """An encoded value that is handed on without being decoded.

    Attributes:
        number: Under what the workers know it; 0 if it travels with each call.
    """

    __slots__ = ("number",)

    @property
    def loose(self) -> int:
        """How many bytes of it are not in shared memory."""
        parts = (self.data, *self.buffers)
        return sum(memoryview(each).nbytes for each in parts if type(each) is not Piece)

    def publish(self) -> None:
        """Put what is large in it into shared memory, once for all who are sent it.

        Raises:
            MemoryError: there is not enough.
            OSError: it is there, but can't be kept from changing.
        """
        self.data, *buffers = published((self.data, *self.buffers))
        self.buffers = tuple(buffers)

    def __init__(self, data: Any, buffers: Sequence[Any] = (), number: int = 0) -> None:
        """Hold a pickle and its buffers, and the number it is known under."""
        codec.Blob.__init__(self, data, buffers)
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        """Stand in a call's arguments as a reference to the value."""
        collector = _active.get(_thread.get_ident())
        if not isinstance(collector, Collector):
            raise TypeError("an encoded value travels only inside a call's arguments")
        return attached, collector.place(self)


class Collector:
    """Gathers the parcels met while one call's arguments are encoded."""

    def __init__(self) -> None:
        self.buffers: list[Any] = []
        # The parcels that go ahead, once to each worker.
        self.shared: list[Parcel] = []
        self._places: dict[int, tuple[int, int]] = {}

    def place(self, parcel: Parcel) -> tuple[int, int]:
        """Return the reference to pickle instead of ``parcel``."""
        key = id(parcel)
        place = self._places.get(key)
        if place is None:
            if parcel.number:
                self.shared.append(parcel)
                place = (parcel.number, -1)
            else:
                place = (len(self.buffers), len(parcel.buffers))
                self.buffers.extend((parcel.data, *parcel.buffers))
            self._places[key] = place
        return place


def encode_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, *, shared: bool = True
) -> tuple[bytes, int, list[Any], list[Parcel]]:
    """Encode a call's arguments; the parcels among them are taken out.

    Args:
        args: The positional ones.
        kwargs: Those by keyword.
        shared: Whether large buffers are put into shared memory.

    Returns:
        The pickled arguments, the number of their own out-of-band buffers, all
        buffers to send (their own first), and the parcels to share beforehand.

    Raises:
        EncodeError: An argument cannot be pickled.
    """
    collector = Collector()
    thread = _thread.get_ident()
    before = _active.get(thread)
    _active[thread] = collector
    try:
        blob = codec.encode((args, kwargs))
    finally:
        _restore(thread, before)
    own = published(blob.buffers) if shared else blob.buffers
    return bytes(blob.data), len(own), [*own, *collector.buffers], collector.shared


def attached(first: int, count: int) -> Any:
    """Return the value at a place of the message being decoded."""
    message = _active.get(_thread.get_ident())
    if not isinstance(message, Attached):
        raise TypeError("a call's arguments are decoded only inside their message")
    return message.value(first, count)


class Attached:
    """The arguments of one call as they came, with what they refer to."""

    def __init__(
        self, data: Buffer, own: int, frame: Frame, shared: Mapping[int, codec.Blob]
    ) -> None:
        """Hold a pickle, the number of its own buffers, their frame, shared values."""
        self._data = data
        self._own = own
        self._frame = frame
        self._shared = shared
        self._values: dict[tuple[int, int], Any] = {}

    def decode(self) -> Any:
        """Return the positional and the keyword arguments, this call's own copies.

        Raises:
            DecodeError: They cannot be rebuilt here.
        """
        thread = _thread.get_ident()
        before = _active.get(thread)
        _active[thread] = self
        try:
            return codec.decode(self._blob(self._data, 0, self._own), owned=True)
        finally:
            _restore(thread, before)
            # What the arguments are made of lives as long as they do, not longer.
            self._frame.buffers = ()
            self._values = {}

    def value(self, first: int, count: int) -> Any:
        """Return the value of one blob; the same object each time."""
        key = (first, count)
        if key not in self._values:
            if count < 0:
                value = codec.decode(self._shared[first])
            else:
                place = self._own + first
                data = self._frame.buffers[place]
                value = codec.decode(self._blob(data, place + 1, count), owned=True)
            self._values[key] = value
        return self._values[key]

    def _blob(self, data: Buffer, first: int, count: int) -> Parcel:
        return received(
            data,
            self._frame.buffers[first : first + count],
            self._frame.marks[first : first + count],
        )


def received(data: Buffer, buffers: Sequence[Any], marks: Sequence[int]) -> Parcel:
    """Make a parcel of what a frame brought, read-only buffers read-only again."""
    return Parcel(data, readable(buffers, marks))


def readable(buffers: Sequence[Any], marks: Sequence[int]) -> tuple[Any, ...]:
    """Return buffers as a frame brought them, read-only ones read-only again."""
    return tuple(
        [
            memoryview(buffer).toreadonly()
            if mark & frames.READONLY and type(buffer) is not Piece
            else buffer
            for buffer, mark in zip(buffers, marks)
        ]
    )


def published(buffers: Sequence[Any]) -> Sequence[Any]:
    """Return buffers, those that are large together as pieces of shared memory.

    Raises:
        MemoryError, OSError: as `Parcel.publish`.
    """
    buffers = in_memory(buffers)
    if "entangle._worker.memory" in sys.modules:
        from . import memory

        memory.seal()
    return buffers


def in_memory(buffers: Sequence[Any]) -> Sequence[Any]:
    """Return buffers, the large ones as pieces: to be sealed before they are sent.

    Raises:
        MemoryError: There is not enough.
    """
    if not pieces.large(buffers):
        return buffers
    if pieces.Source.ask is None and "entangle._worker.memory" not in sys.modules:
        return buffers  # there is none, and nothing of it
    try:
        from . import memory
    except OSError as error:
        # A process without descriptors can't import anything.
        if pieces.Source.failed is not None:
            pieces.Source.failed(str(error))
        return buffers
    return memory.published(buffers)


def _restore(thread: int, before: Active | None) -> None:
    if before is None:
        del _active[thread]
    else:
        _active[thread] = before
