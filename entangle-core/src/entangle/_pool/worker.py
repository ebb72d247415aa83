"""The caller's side of one worker process: its descriptors and what it was given."""

from __future__ import annotations

import _socket
import fcntl
import mmap
import os
import pickle
import select
import struct
import termios
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._worker import frames, page
from entangle._worker import main as protocol

from .output import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .hub import Hub, Timer
    from .jobs import Job
    from .output import Printer
    from .segments import Segments
    from .zygotes import ZygoteProcess

_PAGE = mmap.PAGESIZE
_GOODBYE = 0.1  # seconds that a worker has to leave by itself when it is not needed
_MOST_FUNCTIONS = 1000
# For how long `peek` waits at most, as the timeval that the kernel takes; it rounds up
# to two ticks of its clock.
_PEEK = struct.pack("@ll", 0, 1000)


class Key:
    """What makes workers interchangeable, as one hashable value."""

    __slots__ = ("_hash", "cpus", "cwd", "env", "fresh", "nice", "preload")

    def __init__(
        self,
        env: tuple[tuple[str, str], ...] | None,
        cwd: str | None,
        nice: int | None,
        cpus: tuple[int, ...] | None,
        preload: tuple[str, ...],
        *,
        fresh: bool,
    ) -> None:
        self.env = env
        self.cwd = cwd
        self.nice = nice
        self.cpus = cpus
        self.preload = preload
        self.fresh = fresh
        self._hash = hash((env, cwd, nice, cpus, preload, fresh))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return (self.env, self.cwd, self.nice, self.cpus, self.preload, self.fresh) == (
            other.env,
            other.cwd,
            other.nice,
            other.cpus,
            other.preload,
            other.fresh,
        )

    def bound(self, cpus: tuple[int, ...]) -> Key:
        """Return the key of workers like these that are bound to some processors."""
        return Key(self.env, self.cwd, self.nice, cpus, self.preload, fresh=self.fresh)

    def settings(self) -> dict[str, Any]:
        """Return what a worker of this key applies to itself."""
        return {
            "env": self.env,
            "cwd": self.cwd,
            "nice": self.nice,
            "cpus": self.cpus,
        }


class WorkerProcess:
    """One local worker, from the request to fork it until its death is reported.

    Used inside the monitor only. Owns a socket, two output pipes, the pipe of tokens
    and the shared page; `release` closes them.
    """

    def __init__(
        self,
        number: int,
        key: Key,
        zygote: ZygoteProcess,
        hub: Hub,
        printer: Printer,
        segments: Segments,
    ) -> None:
        self.number = number
        self.key = key
        self.zygote = zygote
        self.pid = 0
        self.outstanding: deque[Job] = deque()
        self.leases = 0
        self.processors: tuple[int, ...] = ()  # counted as in use for its call
        self.blocked = self.waits = 0
        self.outside = False  # whether its call has left its limit while it waits
        self.killed = False
        self.broken = ""  # why its stream can't be used any more
        self.silent = False  # its stream has ended
        self.dirty = False
        self.idle_since = 0.0
        # Which state of the caller's it has: what it is itself, it takes over itself.
        self.snapshot = 0 if key.env or key.cwd or key.cpus else zygote.snapshot
        self.watch: Timer | None = None
        self.watched = 0  # the body entered last when somebody looked
        self.answered = 0  # the last call whose answer has come
        self.slow = 0  # the last call that it had when an answer was waited for in vain
        self.functions: set[int] = set()
        self.shared: set[int] = set()
        self.children: dict[int, Any] = {}
        self.answered_late: list[Job] = []  # while it was being ended
        self.nested_functions: dict[bytes, Any] = {}
        self.nested_snapshots: dict[int, Any] = {}
        self._hub = hub
        self._segments = segments
        self._reader = frames.FrameReader(partial(segments.accept, number))
        self._outbox: deque[memoryview] = deque()
        self._sequence = 0
        self._open: list[int] = []
        try:
            descriptors = self._make_descriptors(printer)
        except BaseException:
            self._close()
            raise
        zygote.fork(number, key.settings(), descriptors)

    def _make_descriptors(self, printer: Printer) -> list[int]:
        ours, theirs = _socket.socketpair(
            _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0
        )
        self._open.append(ours.detach())
        given = [theirs.detach()]
        try:
            self.sources: list[Source] = []
            for stream in ("stdout", "stderr"):
                read, write = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(read, False)
                self._open.append(read)
                given.append(write)
                self.sources.append(Source(read, self._emitter(printer, stream)))
            memory = os.memfd_create(
                "entangle-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            )
            given.append(memory)
            os.ftruncate(memory, _PAGE)
            # Whoever could truncate it could end this process by a bus error.
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            self.page = mmap.mmap(memory, _PAGE)
            self._tokens, self._grants = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._open.extend((self._tokens, self._grants))
            given.append(os.dup(self._tokens))
        except BaseException:
            for descriptor in given:
                os.close(descriptor)
            raise
        # Blocking, for `peek`; all else is asked not to wait, call by call.
        self.socket = _socket.socket(fileno=self._open[0])
        self.socket.setblocking(True)
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _PEEK)
        self._receive = partial(self.socket.recv_into, flags=_socket.MSG_DONTWAIT)
        del self._open[0]
        return given

    def _emitter(self, printer: Printer, stream: str) -> Callable[[str], None]:
        def emit(text: str) -> None:
            job = self.outstanding[0] if self.outstanding else None
            if job is not None:
                job.prepared.shipped.prints = True
            if job is not None and job.call.captures:
                job.call.pid = self.pid  # this may be the first that is heard of it
                job.call.output(stream, text)
            else:
                printer.take(stream, self, text)

        return emit

    def descriptors(self) -> list[int]:
        """Return what is open here."""
        own = [source.descriptor for source in self.sources]
        return [self.socket.fileno(), *own, self._tokens, self._grants]

    def disown(self) -> list[int]:
        """Return what a forked child of this process has to close, itself."""
        own = self.descriptors()
        # Or else its finalizer closes whatever has this number by then.
        self.socket.detach()
        return own

    @property
    def used(self) -> bool:
        """Whether it was ever given a call."""
        return self._sequence > 0

    def near(self) -> bool:
        """Tell whether its next answer is due any moment."""
        silent = self.killed or self.blocked or self.silent
        # While it waits for the rest of its call no answer can come.
        return self.slow != self._sequence and not silent and not self._outbox

    def waiting(self) -> bool:
        """Tell whether a call waits behind the one that runs."""
        return len(self.outstanding) > 1

    # -- sending -----------------------------------------------------------------

    def next_sequence(self, count: int) -> int:
        """Return the number of the first of the next calls that it is given."""
        first = self._sequence + 1
        self._sequence += count
        return first

    def grant(self, numbers: Sequence[int]) -> None:
        """Put the tokens of calls where the worker finds them; before the calls."""
        os.write(self._grants, struct.pack(f"<{len(numbers)}Q", *numbers))

    def take_back(self) -> set[int]:
        """Take all tokens that the worker hasn't taken: these calls are not begun."""
        try:
            data = os.read(self._tokens, 1 << 16)
        except BlockingIOError:
            return set()
        return {number for (number,) in protocol.NUMBER.iter_unpack(data)}

    def send(self, pieces: list[Any]) -> None:
        """Send one frame, now or as soon as the worker reads."""
        if self._outbox:
            self._outbox.extend(memoryview(piece).cast("B") for piece in pieces)
            return
        try:
            if len(pieces) == 1:
                piece = pieces[0]
                sent = self.socket.send(piece, _socket.MSG_DONTWAIT)
                if sent == len(piece):
                    return
                self._outbox.append(memoryview(piece)[sent:])
            else:
                self._outbox.extend(memoryview(piece).cast("B") for piece in pieces)
                self.flush()
                return
        except BlockingIOError:
            self._outbox.extend(memoryview(piece).cast("B") for piece in pieces)
        except OSError:
            return  # it is dying: its zygote will say so
        self.want_writable(wanted=True)

    def send_with(self, kind: int, body: bytes, buffers: Sequence[Any]) -> None:
        """Send a frame whose buffers may lie in shared memory."""
        self._segments.lend(self.number, buffers)
        self.send(frames.pack(kind, body, buffers))

    def flush(self) -> None:
        """Send what the socket takes now."""
        outbox = self._outbox
        while outbox:
            some = [outbox[index] for index in range(min(len(outbox), 512))]
            try:
                sent = self.socket.sendmsg(some, (), _socket.MSG_DONTWAIT)
            except BlockingIOError:
                self.want_writable(wanted=True)
                return
            except OSError:
                outbox.clear()
                return
            while outbox and sent >= outbox[0].nbytes:
                sent -= outbox.popleft().nbytes
            if sent:
                outbox[0] = outbox[0][sent:]
        self.want_writable(wanted=False)

    def want_writable(self, *, wanted: bool) -> None:
        """Watch for the socket taking more, or stop that."""
        if not self.broken and not self.silent:
            mask = select.EPOLLIN | (select.EPOLLOUT if wanted else 0)
            self._hub.watch(self.socket.fileno(), self.handler, mask)

    handler: Callable[[int], None]

    def forget_functions(self, gone: Callable[[set[int]], list[int]]) -> None:
        """Have the worker forget functions that nobody will call again."""
        if len(self.functions) > _MOST_FUNCTIONS:
            numbers = gone(self.functions)
            self.functions.difference_update(numbers)
            self.send(frames.pack(frames.FORGET, pickle.dumps((numbers, ()), 4)))

    # -- receiving ---------------------------------------------------------------

    def peek(self) -> bool:
        """Wait some milliseconds for an answer, and leave it where it is.

        Outside of the monitor. A thread that waits in the socket itself is woken on
        the processor of the worker, which is about to sleep: at half the cost of a
        wake-up through epoll.

        Returns:
            Whether there is news, be it the end.
        """
        try:
            self.socket.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            # Not again for this call: it is slower than others of its function.
            self.slow = self._sequence
            return False
        except OSError:
            pass  # it was closed: whoever reads it will see
        return True

    def receive(self) -> list[Any]:
        """Receive once; complete frames, after passing on all output before them.

        Raises:
            BlockingIOError: nothing is there.
            EOFError, OSError, ProtocolError: the stream can't be used any more.
        """
        received = self._reader.read(self._receive)
        self.read_output()
        return received

    def unsent(self) -> bytes:
        """Return the answers that it keeps, which the stream may bring, too.

        They come after all that it has sent before, and after all output before that
        is read when this returns.
        """
        answers = page.unsent(self.page)
        if answers:
            self.read_output()
        return answers

    def read_output(self) -> None:
        """Pass on what its call has printed so far, but for an unfinished line."""
        for source in self.sources:
            if source.descriptor >= 0 and _readable_bytes(source.descriptor):
                source.read()

    def drain_output(self) -> None:
        """Pass on everything printed so far, an unfinished line included."""
        for source in self.sources:
            if source.descriptor >= 0:
                source.read()
            source.finish()

    def finish_lines(self) -> None:
        """Pass on unfinished lines: the call that printed them is over."""
        for source in self.sources:
            if source.unfinished:
                source.finish()

    def may_exist(self) -> bool:
        """Tell whether its process may exist: not while its zygote still starts."""
        return bool(self.pid) or self.zygote.ready

    def begun(self) -> tuple[int, int]:
        """Return the number of the body entered last, and when (monotonic ns)."""
        return page.begun(self.page)

    def kill(self) -> None:
        """Have it ended with all its descendants; its death is reported later."""
        if not self.killed:
            self.killed = True
            self.zygote.kill(self.number)

    def dismiss(self) -> None:
        """Have it leave by itself, as nothing is left to do for it."""
        if not self.killed:
            self.killed = True
            self.send(frames.pack(frames.EXIT, b""))
            # It may be busy with what its call has left running.
            self._hub.at(time.monotonic() + _GOODBYE, self.end)

    def end(self) -> None:
        """Have it ended if it has not left yet."""
        if self.socket.fileno() >= 0:
            self.zygote.kill(self.number)

    def release(self) -> None:
        """Close everything; after its death."""
        for descriptor in self.descriptors():
            if descriptor >= 0:
                self._hub.unwatch(descriptor)
        self.socket.close()
        self._close()
        self.page.close()
        for source in self.sources:
            source.descriptor = -1
        if self.watch is not None:
            self.watch.cancel()

    def _close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()


def _readable_bytes(descriptor: int) -> int:
    """Return how many bytes wait in a pipe; cheaper than a read that finds none."""
    count: int = struct.unpack(
        "i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    )[0]
    return count


def milliseconds_since(moment_ns: int) -> float:
    """Return the time since a moment of `time.monotonic_ns`."""
    return (time.monotonic_ns() - moment_ns) / 1e6
