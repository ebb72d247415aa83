"""Bytes to and from a stream, for the monitor: by descriptors, or by threads."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._pool.hub import Hub

    from .stream import Stream

    Buffer = bytes | memoryview

_AT_ONCE = 1 << 18  # bytes of one read
_MOST_BUFFERS = 64  # of one write
_MOST_READS = 8  # of one turn: others want theirs
_READ_AHEAD = 4  # pieces that a thread may have read and nobody has handled


class Listener(Protocol):
    """Who is told of a stream, inside the monitor."""

    def arrived(self, data: bytes) -> None:
        """Bytes have come."""

    def ended(self, error: BaseException | None) -> None:
        """No more will come, nor be sent."""

    def has_room_again(self) -> None:
        """What was given to be sent is sent, or nearly."""


class Transport(Protocol):
    """Sends and receives. Inside the monitor only."""

    pending: int  # bytes that were given and are not sent
    moved: float  # when some of them were sent last

    def start(self) -> None:
        """Begin to receive."""

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Have all of it sent, in order. Never blocks."""

    def look(self) -> None:
        """Handle what has come by now: the end, for example."""

    def stop(self) -> None:
        """Let go of the stream, which is about to be closed."""

    def descriptors(self) -> Sequence[int]:
        """Return what a forked child of this process has to close."""
        ...


def transport(hub: Hub, stream: Stream, listener: Listener) -> Transport:
    """Return what moves the bytes of a stream."""
    found = stream.descriptors()
    if found is None:
        return ByThreads(hub, stream, listener)
    return ByDescriptors(hub, *found, listener)


class ByDescriptors:
    """Moves bytes as soon as the kernel takes or has them, without a thread."""

    def __init__(self, hub: Hub, reader: int, writer: int, listener: Listener) -> None:
        self.pending = 0
        self.moved = 0.0
        self._hub = hub
        self._reader = reader
        self._writer = writer
        self._listener = listener
        self._outbox: deque[Buffer] = deque()
        self._open = True
        self._full = False
        for descriptor in {reader, writer}:
            os.set_blocking(descriptor, False)

    def start(self) -> None:
        """Begin to receive."""
        self._hub.watch_always(self._reader, self._ready)

    def descriptors(self) -> Sequence[int]:
        """Return what a forked child of this process has to close."""
        return (self._reader, self._writer) if self._open else ()

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Have all of it sent, in order."""
        if not self._open:
            return
        if not self._outbox and len(buffers) == 1:
            # As mostly: nothing is to be kept.
            data = buffers[0]
            try:
                sent = os.write(self._writer, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # its end is about to be read
            if sent == len(data):
                return
            buffers = (memoryview(data)[sent:],)
        self._outbox.extend(buffers)
        self.pending += sum(map(len, buffers))
        self._flush()

    def look(self) -> None:
        """Handle what has come by now."""
        if self._open:
            self._receive()

    def stop(self) -> None:
        """Let go of the stream."""
        if self._open:
            self._open = False
            self._outbox.clear()
            self.pending = 0
            for descriptor in {self._reader, self._writer}:
                self._hub.unwatch(descriptor)

    def _ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._writable(mask)
            mask &= ~select.EPOLLOUT
        if mask and self._open:
            self._receive()

    def _writable(self, _mask: int) -> None:
        self._flush()
        if self._open and not self._outbox:
            self._listener.has_room_again()

    def _receive(self) -> None:
        for _ in range(_MOST_READS):
            try:
                data = os.read(self._reader, _AT_ONCE)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(error)
                return
            if not data:
                self._end(None)
                return
            self._listener.arrived(data)
            if len(data) < _AT_ONCE or not self._open:
                return

    def _end(self, error: BaseException | None) -> None:
        self.stop()
        self._listener.ended(error)

    def _flush(self) -> None:
        outbox = self._outbox
        while outbox:
            some = [outbox[index] for index in range(min(len(outbox), _MOST_BUFFERS))]
            try:
                sent = os.writev(self._writer, some)
            except BlockingIOError:
                self._want_writable(wanted=True)
                return
            except OSError:
                outbox.clear()
                self.pending = 0
                break
            self.pending -= sent
            self.moved = time.monotonic()
            while outbox and sent >= len(outbox[0]):
                sent -= len(outbox.popleft())
            if sent:
                outbox[0] = memoryview(outbox[0])[sent:]
        self._want_writable(wanted=False)

    def _want_writable(self, *, wanted: bool) -> None:
        if wanted == self._full or not self._open:
            return
        self._full = wanted
        if self._reader == self._writer:
            mask = select.EPOLLIN | (select.EPOLLOUT if wanted else 0)
            self._hub.watch(self._reader, self._ready, mask)
        elif wanted:
            self._hub.watch(self._writer, self._writable, select.EPOLLOUT)
        else:
            self._hub.unwatch(self._writer)


class ByThreads:
    """Moves bytes by two threads, which call `Stream.read` and `Stream.write`."""

    def __init__(self, hub: Hub, stream: Stream, listener: Listener) -> None:
        self.pending = 0
        self.moved = 0.0
        self._hub = hub
        self._stream = stream
        self._listener = listener
        self._outbox: deque[Buffer] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._ahead = threading.Semaphore(_READ_AHEAD)
        self._open = True

    def start(self) -> None:
        """Begin to receive."""
        for target in (self._read, self._write):
            threading.Thread(
                target=target, name=f"entangle-stream{target.__name__}", daemon=True
            ).start()

    def descriptors(self) -> Sequence[int]:
        """Return nothing: what it is made of is the stream's own affair."""
        return ()

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Have all of it sent, in order."""
        with self._changed:
            self.pending += sum(map(len, buffers))
            self._outbox.extend(buffers)
            self._changed.notify()

    def look(self) -> None:
        """Do nothing: a thread looks all the time."""

    def stop(self) -> None:
        """Let go of the stream; the threads end when it is closed."""
        with self._changed:
            self._open = False
            self._outbox.clear()
            self.pending = 0
            self._changed.notify()
        self._ahead.release()

    def _read(self) -> None:
        error: BaseException | None = None
        while self._open:
            self._ahead.acquire()
            try:
                data = self._stream.read(_AT_ONCE)
            except BaseException as trouble:
                error = trouble
                break
            if not data:
                break
            self._tell(self._arrived, data)
        self._tell(self._end, error)

    def _write(self) -> None:
        while True:
            with self._changed:
                while self._open and not self._outbox:
                    self._changed.wait()
                if not self._open:
                    return
                data = self._outbox.popleft()
            try:
                self._stream.write(data)
            except BaseException as error:
                self._tell(self._end, error)
                return
            with self._changed:
                self.pending = max(0, self.pending - len(data))
                self.moved = time.monotonic()
                room = not self._outbox
            if room:
                self._tell(self._listener.has_room_again)

    def _tell(self, action: Callable[..., None], *args: Any) -> None:
        self._hub.post(partial(self._if_open, action, *args))
        self._hub.attend()

    def _if_open(self, action: Callable[..., None], *args: Any) -> None:
        if self._open:
            action(*args)

    def _arrived(self, data: bytes) -> None:
        self._ahead.release()
        self._listener.arrived(data)

    def _end(self, error: BaseException | None) -> None:
        self.stop()
        self._listener.ended(error)
