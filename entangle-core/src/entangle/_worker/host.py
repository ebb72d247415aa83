"""The host: what a place runs, one for each stream, and the parent of its workers.

Data flow: packets come in over the stream. The host forks workers, hands on to each what
is meant for it, and sends back what it says and prints. The workers are those that run
on the caller's machine: each has its socket, its pipes for output and tokens, its page.
What the caller does there by itself the host does on its behalf: it takes back what
waits behind a call that takes long, reads answers in the page, learns of deaths, and
ends descendants. It is single-threaded, blocks in poll alone, and ends with everything
that it has started when the stream ends.
"""

from __future__ import annotations

import _pickle as pickle
import errno
import os
import select
import sys
import time

from . import far, native, packets, page, pieces, plain, shortage
from .brood import Brood, drained, preload, wakeable
from .hosted import HostedWorker, readable
from .packets import COUNT, FATE, LONGEST, WINDOW
from .processors import usable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections import deque
    from collections.abc import Mapping
    from typing import Any
else:
    import _signal
    from _collections import deque

PATIENCE = 0.001  # seconds that a call may keep others waiting behind it
SILENCE = 0.5  # seconds that a worker may outlive its connection
_FULL = 1 << 20  # bytes to be sent, from which on no more is read
_CREDIT = WINDOW // 4  # bytes that are worth a packet


class Host:
    """Serves one stream until it ends."""

    def __init__(self, source: int, sink: int) -> None:
        """Take charge of this process's signals, and of a stream.

        Args:
            source: where packets come from.
            sink: where they go to.
        """
        self._source = source
        self._sink = sink
        self._splitter = packets.Splitter()
        self._outbox: deque[Any] = deque()
        self._outbox_size = 0
        self._brood = Brood()
        self._workers: dict[int, HostedWorker] = {}
        self._sockets: dict[int, HostedWorker] = {}
        self._outputs: dict[int, HostedWorker] = {}
        self._watched: set[HostedWorker] = set()
        self._silent: set[HostedWorker] = set()
        self._leaving = False
        self._reading = True  # whether there is room for what workers say
        self._look_at = 0.0
        self._kills = shortage.kills()
        self._wakers = wakeable(_signal.SIGCHLD)
        for number in (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT):
            _signal.signal(number, self._leave)
        self._poll = select.poll()
        self._poll.register(source, select.POLLIN)
        self._poll.register(self._wakers[0], select.POLLIN)
        self._does = {
            packets.DATA: self._hand_on,
            packets.GRANT: self._grant,
            packets.WITHDRAW: self._withdraw,
            packets.KILL: self._kill,
            packets.CREDIT: self._credit,
        }

    def run(self) -> None:
        """Say what this is, then serve until everything is over."""
        self._send(packets.HELLO, 0, plain.encode(hello()))
        brood = self._brood
        while not (self._leaving and not brood.workers and not brood.orphans()):
            if self._leaving:
                brood.kill_all()
            for descriptor, events in self._poll.poll(self._timeout()):
                self._ready(descriptor, events)
            for number, status in brood.reap(all_over=self._leaving):
                self._died(number, status)
            if self._watched or self._silent:
                self._look()

    def _ready(self, descriptor: int, events: int) -> None:
        """Handle what has happened to a descriptor."""
        if descriptor == self._source:
            self._receive()
        elif descriptor == self._wakers[0]:
            drained(descriptor)
        elif descriptor == self._sink:
            self._flush()
        elif descriptor in self._sockets:
            hosted = self._sockets[descriptor]
            if events & select.POLLOUT:
                self._feed(hosted)
            if events & ~select.POLLOUT and not self._relay(hosted):
                self._fell_silent(hosted)
        elif descriptor in self._outputs:
            self._print(self._outputs[descriptor], descriptor)

    def _timeout(self) -> float | None:
        if self._leaving or self._brood.settling:
            return 50
        if self._watched:
            return max(0.0, self._look_at - time.monotonic()) * 1000
        return SILENCE * 1000 if self._silent else None

    def _leave(self, *_: object) -> None:
        # As a zygote's: the loop ends the workers.
        self._leaving = True

    # -- the stream --------------------------------------------------------------

    def _receive(self) -> None:
        try:
            data = os.read(self._source, LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        try:
            for kind, number, content in self._splitter.feed(data):
                if kind == packets.PING:
                    self._send(packets.PONG, 0, content)
                elif kind == packets.FORK:
                    self._fork(number, content)
                else:
                    hosted = self._workers.get(number)
                    if hosted is not None:  # else it has ended, and that is told
                        self._does[kind](hosted, content)
        except packets.PacketError:
            self._hang_up()

    def _hang_up(self) -> None:
        self._poll.unregister(self._source)
        self._leaving = True

    def _send(self, kind: int, number: int, content: Any = b"") -> None:
        packet = packets.pack(kind, number, content)
        if not self._outbox:
            try:
                sent = os.write(self._sink, packet)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._leaving = True
                return
            if sent == len(packet):
                return
            self._poll.register(self._sink, select.POLLOUT)
            packet = packet[sent:]
        self._outbox.append(packet)
        self._outbox_size += len(packet)
        if self._outbox_size > _FULL and self._reading:
            self._read_workers(wanted=False)

    def _flush(self) -> None:
        outbox = self._outbox
        while outbox:
            try:
                sent = os.write(self._sink, outbox[0])
            except BlockingIOError:
                return
            except OSError:
                outbox.clear()
                self._leaving = True
                break
            self._outbox_size -= sent
            if sent < len(outbox[0]):
                outbox[0] = memoryview(outbox[0])[sent:]
                return
            outbox.popleft()
            if self._outbox_size < _FULL // 2 and not self._reading:
                self._read_workers(wanted=True)
        self._poll.unregister(self._sink)

    def _read_workers(self, *, wanted: bool) -> None:
        """Read what workers say, or stop that while the stream is full."""
        self._reading = wanted
        for hosted in self._workers.values():
            self._watch_socket(hosted)
            for descriptor in hosted.outputs:
                self._watch_output(hosted, descriptor)

    def _watch_socket(self, hosted: HostedWorker) -> None:
        descriptor = hosted.socket.fileno()
        mask = select.POLLIN if self._reading and not hosted.silent_since else 0
        if hosted.inbox:
            mask |= select.POLLOUT
        if descriptor in self._sockets:
            if mask:
                self._poll.modify(descriptor, mask)
            else:
                # A mask of nothing would still tell of the end, again and again.
                self._poll.unregister(descriptor)
                del self._sockets[descriptor]
        elif mask:
            self._poll.register(descriptor, mask)
            self._sockets[descriptor] = hosted

    def _watch_output(self, hosted: HostedWorker, descriptor: int) -> None:
        wanted = (
            self._reading and not hosted.stalled and descriptor not in hosted.closed
        )
        if wanted and descriptor not in self._outputs:
            self._outputs[descriptor] = hosted
            self._poll.register(descriptor, select.POLLIN)
        elif not wanted and descriptor in self._outputs:
            del self._outputs[descriptor]
            self._poll.unregister(descriptor)

    # -- what the caller asks for ------------------------------------------------

    def _fork(self, number: int, content: Any) -> None:
        if self._leaving:
            return
        settings: dict[str, Any] = pickle.loads(content)
        preload(settings["preload"])
        try:
            hosted = HostedWorker(number)
        except OSError as error:
            self._refuse(number, error)
            return
        try:
            pid = self._brood.fork(number, lambda: self._begin(hosted, settings))
        except OSError as error:
            hosted.close()
            self._refuse(number, error)
            return
        hosted.let_go()
        self._workers[number] = hosted
        self._watch_socket(hosted)
        for descriptor in hosted.outputs:
            self._watch_output(hosted, descriptor)
        self._send(packets.FORKED, number, COUNT.pack(pid))

    def _refuse(self, number: int, error: OSError) -> None:
        code = error.errno or errno.EAGAIN
        self._send(packets.REFUSED, number, COUNT.pack(code))

    def _begin(self, hosted: HostedWorker, settings: Mapping[str, Any]) -> None:
        """Be a worker."""
        for descriptor in (self._source, self._sink, *self._wakers):
            os.close(descriptor)
        for other in self._workers.values():
            other.close()
        hosted.socket.close()
        for descriptor in (*hosted.outputs, hosted.tokens, hosted.grants):
            os.close(descriptor)
        far.become(hosted.theirs, hosted.memory, settings)

    def _hand_on(self, hosted: HostedWorker, content: memoryview) -> None:
        """Give a worker a part of its stream."""
        size = len(content)
        if not hosted.inbox:
            try:
                sent = hosted.socket.send(content)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # it is dying, which is told
            self._passed_on(hosted, sent)
            if sent == size:
                return
            content = content[sent:]
        hosted.inbox.append(memoryview(bytes(content)))
        self._watch_socket(hosted)

    def _feed(self, hosted: HostedWorker) -> None:
        inbox = hosted.inbox
        while inbox:
            try:
                sent = hosted.socket.send(inbox[0])
            except BlockingIOError:
                return
            except OSError:
                inbox.clear()
                break
            self._passed_on(hosted, sent)
            if sent == len(inbox[0]):
                inbox.popleft()
            else:
                inbox[0] = inbox[0][sent:]
        self._watch_socket(hosted)

    def _passed_on(self, hosted: HostedWorker, count: int) -> None:
        hosted.passed_on += count
        if hosted.passed_on >= _CREDIT:
            self._send(packets.CREDIT, hosted.number, COUNT.pack(hosted.passed_on))
            hosted.passed_on = 0

    def _grant(self, hosted: HostedWorker, content: memoryview) -> None:
        """Put tokens where the worker finds them; its calls wait behind another."""
        os.write(hosted.grants, content)
        if not hosted.watched:
            hosted.watched = True
            hosted.entered = page.begun(hosted.memory)[0]
            if not self._watched:
                self._look_at = time.monotonic() + PATIENCE
            self._watched.add(hosted)

    def _withdraw(self, hosted: HostedWorker, _content: memoryview) -> None:
        self._take_back(hosted, always=True)

    def _kill(self, hosted: HostedWorker, _content: memoryview) -> None:
        self._brood.kill(hosted.number)

    def _credit(self, hosted: HostedWorker, content: memoryview) -> None:
        hosted.output_ahead -= COUNT.unpack(content)[0]
        if hosted.stalled and hosted.output_ahead < WINDOW:
            hosted.stalled = False
            for descriptor in hosted.outputs:
                self._watch_output(hosted, descriptor)

    # -- what workers say --------------------------------------------------------

    def _relay(self, hosted: HostedWorker) -> bool:
        """Send on what a worker has said, after what it printed before; False at its end."""
        try:
            data = hosted.socket.recv(LONGEST)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._read_output(hosted)
        self._send(packets.DATA, hosted.number, data)
        return True

    def _read_output(self, hosted: HostedWorker) -> None:
        """Send on what a worker has printed so far."""
        for descriptor in list(hosted.outputs):
            left = readable(descriptor)
            while left > 0:
                left -= self._print(hosted, descriptor, left) or left

    def _print(self, hosted: HostedWorker, descriptor: int, most: int = LONGEST) -> int:
        """Send on what is in one pipe; return how many bytes that were."""
        try:
            data = os.read(descriptor, min(most, LONGEST))
        except OSError:
            return 0
        first = descriptor == hosted.outputs[0]
        if not data:
            # A task has closed it: the caller doesn't use this worker again.
            hosted.closed.add(descriptor)
            self._watch_output(hosted, descriptor)
        else:
            hosted.output_ahead += len(data)
            if hosted.output_ahead >= WINDOW and not hosted.stalled:
                hosted.stalled = True
                for each in hosted.outputs:
                    self._watch_output(hosted, each)
        kind = packets.STDOUT if first else packets.STDERR
        self._send(kind, hosted.number, data)
        return len(data)

    def _fell_silent(self, hosted: HostedWorker) -> None:
        """A worker's stream has ended: mostly it is dying, which SIGCHLD tells."""
        if not hosted.silent_since:
            hosted.silent_since = time.monotonic()
            hosted.inbox.clear()
            self._watch_socket(hosted)
            self._silent.add(hosted)

    def _look(self) -> None:
        """See whether calls take longer than expected while others wait for them."""
        now = time.monotonic()
        for hosted in list(self._silent):
            if now - hosted.silent_since > SILENCE:
                self._silent.discard(hosted)
                self._brood.kill(hosted.number)
        if not self._watched or now < self._look_at:
            return
        self._look_at = now + PATIENCE
        for hosted in list(self._watched):
            entered, _ = page.begun(hosted.memory)
            waiting = readable(hosted.tokens) > 0
            if entered == hosted.entered:
                self._take_back(hosted)
            elif waiting or page.unsent(hosted.memory):
                hosted.entered = entered
                continue
            hosted.watched = False
            self._watched.discard(hosted)

    def _take_back(self, hosted: HostedWorker, *, always: bool = False) -> None:
        """Tell what a worker has answered, and what it has not begun.

        Args:
            hosted: The worker.
            always: Tell also that there is nothing to be told.
        """
        unsent = page.unsent(hosted.memory)  # first: see `_relay`
        while self._relay(hosted):
            if not readable(hosted.socket.fileno()):
                break
        if unsent:
            self._read_output(hosted)
            self._send(packets.UNSENT, hosted.number, unsent)
        try:
            numbers = os.read(hosted.tokens, LONGEST)
        except BlockingIOError:
            numbers = b""
        if numbers or always:
            self._send(packets.WITHDRAWN, hosted.number, numbers)

    def _died(self, number: int, status: int) -> None:
        """Send on what a dead worker had to say, and how it ended."""
        hosted = self._workers.pop(number)
        self._watched.discard(hosted)
        self._silent.discard(hosted)
        unsent = page.unsent(hosted.memory)
        if not hosted.silent_since:
            while readable(hosted.socket.fileno()) and self._relay(hosted):
                pass
        self._read_output(hosted)
        # When everything is ended here the caller is to hear of that first: calls that
        # fail by it must not be followed by others.
        if not self._leaving:
            entered, _ = page.begun(hosted.memory)
            fate = FATE.pack(status, entered, self._for_memory(status))
            self._send(packets.DIED, number, fate + unsent)
        for descriptor in hosted.outputs:
            if self._outputs.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
        if self._sockets.pop(hosted.socket.fileno(), None) is not None:
            self._poll.unregister(hosted.socket.fileno())
        hosted.close()

    def _for_memory(self, status: int) -> bool:
        """Tell whether a worker was ended for its memory, as far as it is known."""
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != _signal.SIGKILL:
            return False
        before, self._kills = self._kills, shortage.kills()
        return self._kills > before


def hello() -> dict[str, Any]:
    """Return what the caller wants to know of this place, in plain values."""
    return {
        "python": tuple(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "platform": sys.platform,
        "machine": os.uname().machine,
        "pid": os.getpid(),
        "cpus": usable(),
    }


def main() -> None:
    """Be a host over this process's standard input and output."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # what modules print that are imported here
    os.close(null)
    for descriptor in (source, sink):
        os.set_blocking(descriptor, False)
    native.adopt_orphans()
    native.line_buffered()
    pieces.Source.clear()
    sys.argv = [""]
    # What the workers need at once.
    preload(("entangle._worker.tracebacks", "traceback"))
    Host(source, sink).run()
    os._exit(0)
