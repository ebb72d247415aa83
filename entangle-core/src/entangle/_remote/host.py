"""The caller's side of a place: the stream to its host, from first noise to its end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from entangle._worker import packets

from .handshake import Handshake, Hello, Refused, read_hello
from .transport import transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entangle._pool.hub import Hub, Timer
    from entangle._pool.worker import Key

    from .stream import Stream
    from .worker import FarWorker

_MOST_PENDING = 1 << 20  # bytes given to the stream, from which on values wait


class Owner(Protocol):
    """Who is told of a host, inside the monitor."""

    def host_ready(self, host: PlaceHost) -> None:
        """It has said what it is, and takes calls."""

    def host_said(
        self, host: PlaceHost, kind: int, number: int, content: memoryview
    ) -> None:
        """A packet has come."""

    def host_ended(self, host: PlaceHost, why: BaseException | str | None) -> None:
        """The stream has ended, or can't be used any more."""


class PlaceHost:
    """One stream and what is at its other end. Inside the monitor only.

    Attributes:
        hello: What the place has said of itself, once it has.
        workers: Its workers by number.
        idle: Those that have nothing to do, by kind, the one used last at the end.
        busy: How many calls run there.
        aside: How many of them have asked for runs that are under way.
        asked: Whether it has been asked for a sign of life, and gave none yet.
        used: Whether it was given a call.
        over: Whether the stream has ended, or is to be.
    """

    def __init__(
        self, hub: Hub, stream: Stream, marker: bytes, owner: Owner, silence: float
    ) -> None:
        self.stream = stream
        self.hello: Hello | None = None
        self.workers: dict[int, FarWorker] = {}
        self.idle: dict[Key, list[FarWorker]] = {}
        self.busy = 0
        self.aside = 0
        self.used = False
        self.over = False
        self.deadline: Timer | None = None  # for its answer
        self.differs = False  # whether its Python's bytecode is another than this one's
        self.idle_since = time.monotonic()
        self.heard = 0.0  # when it has said something last
        self.asked = False
        self._hub = hub
        self._silence = silence
        self._owner = owner
        self._handshake: Handshake | None = Handshake(marker)
        self._greeting = self._handshake
        self._splitter = packets.Splitter()
        self._transport = transport(hub, stream, self)

    def start(self) -> None:
        """Begin to listen."""
        self._transport.start()

    @property
    def said(self) -> str:
        """The last lines of what it has said before, or instead of, its answer."""
        return self._greeting.said()

    @property
    def python(self) -> tuple[int, int]:
        """The major and minor version of its Python, once it has answered."""
        return (0, 0) if self.hello is None else self.hello.python[:2]

    # -- sending -----------------------------------------------------------------

    def send(self, kind: int, number: int = 0, content: bytes = b"") -> None:
        """Send one packet."""
        self._transport.send((packets.pack(kind, number, content),))

    def send_data(self, buffers: Sequence[Any]) -> None:
        """Send a packet that is there in parts."""
        self._transport.send(buffers)

    @property
    def has_room(self) -> bool:
        """Whether more of values may be given to the stream."""
        return self._transport.pending < _MOST_PENDING

    def look(self) -> None:
        """Handle what it has said by now, its end for example."""
        self._transport.look()

    def kill(self, worker: FarWorker) -> None:
        """Have a worker ended; if the host says nothing at all, the place is."""
        self.send(packets.KILL, worker.number)
        self.expect_answer()

    def expect_answer(self) -> None:
        """Have the place ended if it doesn't answer soon: it may be stopped."""
        if self.asked:
            return
        self.asked = True
        asked = time.monotonic()
        self.send(packets.PING)
        self._hub.at(asked + self._silence, lambda: self._expected(asked, asked))

    def _expected(self, asked: float, looked: float) -> None:
        if self.over or self.heard >= asked:
            return
        if self._transport.pending and self._transport.moved > looked:
            # What was asked is still on its way there, behind a large value.
            now = time.monotonic()
            self._hub.at(now + self._silence, lambda: self._expected(asked, now))
        else:
            self._end(f"it has not answered for {self._silence:g} s: is it stopped?")

    def make_room(self, room: int) -> None:
        """End a worker of another kind, unless there is room for one more."""
        if sum(map(len, self.idle.values())) >= room:
            for workers in self.idle.values():
                if workers:
                    workers.pop(0).kill()
                    return

    def forget(self, worker: FarWorker) -> None:
        """Let go of a worker that is gone."""
        self.workers.pop(worker.number, None)
        idle = self.idle.get(worker.key, [])
        if worker in idle:
            idle.remove(worker)

    def stop(self) -> None:
        """Let go of the stream, which is about to be closed."""
        self.over = True
        self._forget_deadline()
        self._transport.stop()

    def descriptors(self) -> Sequence[int]:
        """Return what a forked child of this process has to close."""
        return self._transport.descriptors()

    # -- what its transport tells ------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """Bytes have come."""
        self.heard = time.monotonic()
        self.asked = False
        try:
            if self._handshake is not None:
                found = self._handshake.feed(data)
                if found is None:
                    return
                self._handshake = None
                answer, data = found
                self._transport.send((answer,))
            for kind, number, content in self._splitter.feed(data):
                if self.hello is None:
                    self.hello = hello = read_hello(kind, bytes(content))
                    ours = sys.version_info[:2], sys.implementation.name
                    self.differs = ours != (hello.python[:2], hello.implementation)
                    self._forget_deadline()
                    self._owner.host_ready(self)
                elif kind != packets.PONG:
                    self._owner.host_said(self, kind, number, content)
                if self.over:
                    return
        except (Refused, packets.PacketError) as error:
            self._end(error)

    def ended(self, error: BaseException | None) -> None:
        """No more will come."""
        self._end(error)

    def has_room_again(self) -> None:
        """Send on what waits."""
        for worker in list(self.workers.values()):
            worker.pump()

    def _forget_deadline(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _end(self, why: BaseException | str | None) -> None:
        if not self.over:
            self.stop()
            self._owner.host_ended(self, why)
