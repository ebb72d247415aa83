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
import gc
import os
import select
import sys
import time
from _struct import pack, unpack

from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections import deque
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn
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
CRASHED = 70  # exit code: a worker failed outside of any call


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
        self._workers: dict[int, int] = {}  # pid -> worker's number
        self._pids: dict[int, int] = {}  # worker's number -> pid
        # Reports that wait until no orphan is left, then until there is room.
        self._dead: list[tuple[int, int, int]] = []
        self._outbox: deque[tuple[int, ...]] = deque()
        self._listening = True
        self._leaving = False
        self._goodbye = 0.0  # until when workers have time to leave by themselves
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakers = (self._wake, wake)
        control.setblocking(False)
        self._poll = select.poll()
        for descriptor in (control.fileno(), caller, self._wake):
            self._poll.register(descriptor, select.POLLIN)
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, _ignore)
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        for number in (_signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(number, self._leave)

    def run(self) -> None:
        """Serve until everything is over."""
        self._report((READY, os.getpid()))
        while not (self._leaving and not self._workers and not self._orphans()):
            if self._leaving:
                for pid in self._workers:
                    _kill(pid)
            found = self._poll.poll(self._patience())
            if not found and self._later and not self._leaving:
                preload([self._later.pop(0)])
            for descriptor, events in found:
                if descriptor == self._wake:
                    _drain(self._wake)
                elif descriptor == self._caller:
                    self._poll.unregister(self._caller)
                    self._leave()
                elif events == select.POLLOUT:
                    self._flush()
                else:
                    self._serve()
            self._reap()
            if self._goodbye and (
                not self._workers or time.monotonic() >= self._goodbye
            ):
                self._leave()

    def _patience(self) -> float | None:
        """Return for how many milliseconds to wait for news; None for as long as."""
        if self._leaving or self._dead:
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
            pid = self._pids.get(message[1])
            if pid is not None:
                _kill(pid)
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
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _close(descriptors)
            self._report((REFUSED, number, error.errno or errno.EAGAIN))
            return
        if not pid:
            self._be_worker(parent, settings, descriptors)
        _close(descriptors)
        self._workers[pid] = number
        self._pids[number] = pid
        self._report((FORKED, number, pid))

    def _be_worker(
        self, parent: int, settings: Mapping[str, Any], descriptors: list[int]
    ) -> NoReturn:
        try:
            _signal.set_wakeup_fd(-1)
            for signal_number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGHUP):
                _signal.signal(signal_number, _signal.SIG_DFL)
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            os.setsid()
            native.die_with_parent(_signal.SIGKILL)
            if os.getppid() == parent:
                native.adopt_orphans()
                self._control.close()
                _close((self._caller, *self._wakers))
                if self._problem is not None:
                    self._adopt(self._state)  # it may have been for want of memory
                self._become(settings, descriptors, self._problem)
        except BaseException:  # noqa: BLE001 - nothing may return into the zygote
            _print_exception()
            os._exit(CRASHED)
        os._exit(0)

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

    def _reap(self) -> None:
        """Collect the dead, end what they left behind, then report them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            number = self._workers.pop(pid, None)
            if number is not None:
                del self._pids[number]
                self._dead.append((DIED, number, status))
        if self._dead or self._leaving:
            orphans = self._orphans()
            for pid in orphans:
                _kill(pid)
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
            if not orphans or not self._orphans():
                dead, self._dead = self._dead, []
                for report in dead:
                    self._report(report)

    def _orphans(self) -> list[int]:
        """Return our living children that are no workers."""
        return [pid for pid in children() if pid not in self._workers]


def children() -> list[int]:
    """Return the process ids of this process's children, zombies included."""
    pid = os.getpid()
    try:
        descriptor = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY)
    except OSError:
        return _children_by_scan(pid)
    pieces: list[bytes] = []
    try:
        while not pieces or pieces[-1]:
            pieces.append(os.read(descriptor, 1 << 16))
    finally:
        os.close(descriptor)
    return [int(field) for field in b"".join(pieces).split()]


def _children_by_scan(parent: int) -> list[int]:
    found: list[int] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - as PTH123
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - pathlib would be an import only for that
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


def _ignore(*_: object) -> None:
    """Do nothing: the handler exists for the wake-up it causes."""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, _signal.SIGKILL)
    except ProcessLookupError:
        pass


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _print_exception() -> None:
    try:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001, S110 - the interpreter may be beyond printing
        pass


def preload(modules: Iterable[str]) -> None:
    """Import modules, so that workers forked from now on hold them."""
    for name in modules:
        try:
            __import__(name)
        except (Exception, SystemExit):  # noqa: BLE001, S110 - any user code
            # Each call that needs the module will say so with its own traceback.
            pass
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - a module may have put anything there
            pass  # but what was printed must not be printed again by each worker
    # A collection in a child would otherwise touch, and so copy, every page of it.
    gc.collect()
    gc.freeze()


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
