"""The parent of all local workers: a lean, single-threaded process that forks them.

Data flow: the caller writes requests to a sequenced-packet socket (fork with the new
worker's descriptors, kill, exit); the zygote answers with reports (forked, died).
It watches the caller by a pidfd, its children by SIGCHLD, and owns every descendant:
it is a subreaper, so whatever a dead worker leaves behind becomes its child, and a
child that is no worker is ended. A death is reported only when that is done.

It never blocks but in poll, and it is never the caller's thread's child in the sense
of a parent-death signal: the caller's *process* may outlive the thread.
"""

from __future__ import annotations

# Of many modules the extension alone: what surrounds it takes longer to import than
# everything else that happens before the first fork.
import _pickle as pickle
import _socket
import errno
import os
import select
import sys
import time
from _struct import pack, unpack

from . import native
from .brood import Brood, drained, preload, wakeable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections import deque
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any
else:
    # The extension module alone: `signal` makes enumerations, which takes time.
    import _signal
    from _collections import deque

READY, FORKED, DIED, REFUSED = range(4)  # reports to the caller
FORK, KILL, IMPORT, STATE, EXIT = range(5)  # requests of the caller
MESSAGE = 1 << 18  # bytes, beyond what a socket takes in one piece
REPORT = 1 << 10  # bytes, more than any report has
MOST_DESCRIPTORS = 8
LEISURE = 50  # milliseconds without news after which modules are imported ahead
GOODBYE = 1.0  # seconds that workers without work have to leave when all is over


def send(
    control: _socket.socket, message: object, descriptors: Sequence[int] = ()
) -> None:
    """Send one message, with descriptors, over the sequenced-packet socket.

    Raises:
        OSError: it was not sent; BlockingIOError: it would have to wait.
    """
    ancillary: list[tuple[int, int, Any]] = []
    if descriptors:
        rights = pack(f"{len(descriptors)}i", *descriptors)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
    control.sendmsg([pickle.dumps(message, 4)], ancillary)


def receive(
    control: _socket.socket, most: int = MESSAGE
) -> tuple[Any, list[int] | None]:
    """Return the next message and its descriptors, which the receiver has to close.

    Args:
        control: The socket.
        most: How many bytes the message may have.

    Returns:
        The message, None at the end; the descriptors, None where the system had to drop
        some, because too many are open here: none is left open then.

    Raises:
        OSError: the socket is damaged; BlockingIOError: nothing is there.
        Exception: what arrived is no message.
    """
    room = _socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
    data, ancillary, flags, _ = control.recvmsg(most, room, _socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(payload) // 4
            descriptors.extend(unpack(f"{count}i", payload[: 4 * count]))
    try:
        message = pickle.loads(data) if data else None
    except BaseException:
        _close(descriptors)
        raise
    if message is None or flags & _socket.MSG_CTRUNC:
        _close(descriptors)
        return message, None
    return message, descriptors


class Zygote:
    """Forks, kills and reaps workers until the caller asks it to exit or is gone."""

    def __init__(
        self,
        control: _socket.socket,
        caller: int,
        become: Callable[..., None],
        take_over: Callable[[bytes], None],
        later: Iterable[str] = (),
    ) -> None:
        """Take charge of this process's signals, and of a control socket.

        Args:
            control: where requests come from and reports go to.
            caller: a pidfd of the process to live for.
            become: what a new worker runs, with its settings and descriptors, and
                with what went wrong when its state was taken over.
            take_over: makes this process's state the caller's.
            later: modules to import as soon as nothing else is to be done.
        """
        self._control = control
        self._caller = caller
        self._become = become
        self._take_over = take_over
        self._problem: BaseException | None = None
        self._state = b""
        self._later = list(later)
        self._brood = Brood()
        # Reports that wait until there is room.
        self._outbox: deque[tuple[int, ...]] = deque()
        self._listening = True
        self._leaving = False
        self._goodbye = 0.0  # until when workers have time to leave by themselves
        self._wakers = wakeable(_signal.SIGCHLD)
        self._wake = self._wakers[0]
        control.setblocking(False)
        self._poll = select.poll()
        for descriptor in (control.fileno(), caller, self._wake):
            self._poll.register(descriptor, select.POLLIN)
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        for number in (_signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(number, self._leave)

    def run(self) -> None:
        """Serve until everything is over."""
        self._report((READY, os.getpid()))
        brood = self._brood
        while not (self._leaving and not brood.workers and not brood.orphans()):
            if self._leaving:
                brood.kill_all()
            found = self._poll.poll(self._patience())
            if not found and self._later and not self._leaving:
                preload([self._later.pop(0)])
            for descriptor, events in found:
                if descriptor == self._wake:
                    drained(self._wake)
                elif descriptor == self._caller:
                    self._poll.unregister(self._caller)
                    self._leave()
                elif events == select.POLLOUT:
                    self._flush()
                else:
                    self._serve()
            for number, status in brood.reap(all_over=self._leaving):
                self._report((DIED, number, status))
            if self._goodbye and (
                not brood.workers or time.monotonic() >= self._goodbye
            ):
                self._leave()

    def _patience(self) -> float | None:
        """Return for how many milliseconds to wait for news; None for as long as."""
        if self._leaving or self._brood.settling:
            # For an orphan in uninterruptible sleep alone: its death comes as news.
            return 50
        if self._later:
            return LEISURE
        if self._goodbye:
            return max(0.0, self._goodbye - time.monotonic()) * 1000
        return None

    def _leave(self, *_: object) -> None:
        # A signal may bring us here from anywhere, between the fork of a worker and
        # the line that notes it too. So it is the loop that ends the workers.
        self._leaving = True

    def _serve(self) -> None:
        try:
            message, descriptors = receive(self._control)
        except BlockingIOError:
            return
        except Exception:  # noqa: BLE001 - whatever was sent, it was no caller of ours
            message, descriptors = None, None
        if message is None:
            # A closed socket is no proof of death, but nobody can ask any more.
            self._listening = False
            self._poll.unregister(self._control.fileno())
            self._leave()
        elif message[0] == FORK:
            self._fork(message[1], message[2], descriptors)
        elif message[0] == KILL:
            self._brood.kill(message[1])
        elif message[0] == IMPORT:
            preload(message[1])
        elif message[0] == STATE:
            self._adopt(message[1])
        elif not self._goodbye:
            # Its workers have been told, too: they leave by themselves.
            self._goodbye = time.monotonic() + GOODBYE

    def _adopt(self, state: bytes) -> None:
        self._state = state
        self._problem = None
        try:
            self._take_over(state)
        except BaseException as error:  # noqa: BLE001 - the workers' calls tell
            self._problem = error

    def _fork(
        self, number: int, settings: Mapping[str, Any], descriptors: list[int] | None
    ) -> None:
        if descriptors is None:
            self._report((REFUSED, number, errno.EMFILE))
            return
        if self._leaving or self._goodbye:
            _close(descriptors)
            return
        try:
            pid = self._brood.fork(number, lambda: self._begin(settings, descriptors))
        except OSError as error:
            self._report((REFUSED, number, error.errno or errno.EAGAIN))
        else:
            self._report((FORKED, number, pid))
        finally:
            _close(descriptors)

    def _begin(self, settings: Mapping[str, Any], descriptors: list[int]) -> None:
        """Be a worker."""
        self._control.close()
        _close((self._caller, *self._wakers))
        if self._problem is not None:
            self._adopt(self._state)  # it may have been for want of memory
        self._become(settings, descriptors, self._problem)

    def _report(self, message: tuple[int, ...]) -> None:
        self._outbox.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send what the socket takes now: a caller that is stopped must not stop us."""
        events = select.POLLIN
        while self._outbox:
            try:
                send(self._control, self._outbox[0])
            except BlockingIOError:
                events |= select.POLLOUT
                break
            except OSError:
                self._outbox.clear()
                self._leave()
            else:
                self._outbox.popleft()
        if self._listening:
            self._poll.modify(self._control.fileno(), events)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def main(
    descriptor: int,
    caller_pid: int,
    path: Sequence[str],
    modules: Iterable[str],
    later: Iterable[str] = (),
) -> None:
    """Be a zygote.

    Args:
        descriptor: the control socket.
        caller_pid: the process to live for.
        path: the caller's ``sys.path``.
        modules: names of modules that every worker is to hold already.
        later: names of modules that workers may import for themselves.
    """
    control = _socket.socket(fileno=descriptor)
    native.adopt_orphans()
    try:
        caller = os.pidfd_open(caller_pid)
    except ProcessLookupError:
        return
    if os.getppid() != caller_pid:
        return  # the caller is gone, and its number may be somebody else's
    from . import main as worker
    from . import pieces

    # What a module makes as it is imported becomes the workers', each its own.
    pieces.Source.ask = lambda _: None
    sys.path[:] = path
    native.line_buffered()  # the workers, whose standard output is another
    preload(modules)
    Zygote(control, caller, worker.become, worker.take_over, later).run()
    control.close()
