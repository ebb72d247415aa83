"""Encoded values as parts of a bigger message, decoded where they are needed.

A `Parcel` inside the arguments of a call is not pickled into the message: while the
arguments are encoded it is taken out and its buffers travel beside them (or have
travelled before, for one that several calls share). The far side puts a fresh copy
of the value in its place; the same parcel twice in one call stays one object.
"""

import _thread

from . import codec

_active = {}  # thread -> the Collector or Attached at work in it


class Parcel(codec.Blob):
    """An encoded value that is handed on without being decoded.

    Attributes:
        number: Under what the workers know it; 0 if it travels with each call.
    """

    __slots__ = ("number",)

    def __init__(self, data, buffers=(), number=0):
        codec.Blob.__init__(self, data, buffers)
        self.number = number

    def __reduce__(self):
        collector = _active.get(_thread.get_ident())
        if not isinstance(collector, Collector):
            raise TypeError("an encoded value travels only inside a call's arguments")
        return attached, collector.place(self)


class Collector:
    """Gathers the parcels met while one call's arguments are encoded."""

    def __init__(self):
        self.buffers = []
        self.shared = []  # the parcels that go ahead, once to each worker
        self._places = {}

    def place(self, parcel):
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


def encode_arguments(args, kwargs):
    """Encode a call's arguments; the parcels among them are taken out.

    Returns:
        The pickled arguments, the number of their own out-of-band buffers, all
        buffers to send (their own first), and the parcels to share beforehand.
    """
    collector = Collector()
    thread = _thread.get_ident()
    before = _active.get(thread)
    _active[thread] = collector
    try:
        blob = codec.encode((args, kwargs))
    finally:
        _restore(thread, before)
    own = len(blob.buffers)
    return bytes(blob.data), own, [*blob.buffers, *collector.buffers], collector.shared


def attached(first, count):
    """Return the value at a place of the message being decoded."""
    return _active[_thread.get_ident()].value(first, count)


class Attached:
    """The arguments of one call as they came, with what they refer to."""

    def __init__(self, data, own, frame, shared):
        self._data = data
        self._own = own
        self._frame = frame
        self._shared = shared
        self._values = {}

    def decode(self):
        """Return the positional and the keyword arguments, this call's own copies."""
        thread = _thread.get_ident()
        before = _active.get(thread)
        _active[thread] = self
        try:
            return codec.decode(self._blob(self._data, 0, self._own), owned=True)
        finally:
            _restore(thread, before)

    def value(self, first, count):
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

    def _blob(self, data, first, count):
        return received(
            data,
            self._frame.buffers[first : first + count],
            self._frame.readonly[first : first + count],
        )


def received(data, buffers, readonly):
    """Make a parcel of what a frame brought, read-only buffers read-only again."""
    return Parcel(
        data,
        tuple(
            memoryview(buffer).toreadonly() if flag else buffer
            for buffer, flag in zip(buffers, readonly)
        ),
    )


def _restore(thread, before):
    if before is None:
        del _active[thread]
    else:
        _active[thread] = before
