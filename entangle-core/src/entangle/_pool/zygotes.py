"""The caller's side of a zygote: start it, ask it to fork and kill, hear of deaths."""

from __future__ import annotations

import _socket
import errno
import os
import select
import signal
import sys
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from entangle._worker import zygote as protocol
from entangle._worker.context import MARK
from entangle.errors import WorkerStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .hub import Hub
    from .snapshot import Snapshot

_CONTROL = 3  # the descriptor number of the control socket in the zygote
_GRACE = 2.0  # seconds a zygote has to end everything before it is killed
_LARGEST_STATE = 1 << 16  # bytes: a message on its socket is sent in one piece
# What nearly every module with tasks needs, and what functions by value take beyond.
LEAN_PRELOAD = ("entangle.process",)
STANDARD_PRELOAD = (*LEAN_PRELOAD, "cloudpickle", "entangle._worker.byvalue")
_BOOT = """\
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
sys.path.append({root!r})
from entangle._worker.zygote import main
main({control}, {caller}, {path!r}, {preload!r}, {later!r})
"""
_RESET = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)


class Listener(Protocol):
    """Who is told what a zygote reports, inside the monitor."""

    def worker_forked(self, number: int, pid: int) -> None:
        """A worker exists."""

    def worker_refused(self, number: int, error: int) -> None:
        """A worker could not be forked; ``error`` is an errno."""

    def worker_died(self, number: int, status: int) -> None:
        """A worker and all that it left behind is gone; status as of waitpid."""

    def zygote_died(self, zygote: ZygoteProcess, status: int) -> None:
        """The zygote is gone, and its workers with it."""


class ZygoteProcess:
    """One running zygote. Inside the monitor only, but for `close`.

    Owns the process, the control socket and the process's pidfd.
    """

    def __init__(
        self,
        hub: Hub,
        listener: Listener,
        preload: tuple[str, ...],
        *,
        at_once: bool = False,
    ) -> None:
        self.preload = preload
        self.ready = False
        self.snapshot = 0  # the number of the state that new workers hold
        self.nesting = False  # whether its workers hold the framework
        self.mark = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._hub = hub
        self._listener = listener
        self._outbox: deque[tuple[Any, Sequence[int], bool]] = deque()
        ours, theirs = _socket.socketpair(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0
        )
        try:
            first, self._later = (preload, ()) if at_once else _split(preload)
            self.pid = _spawn(theirs.fileno(), first, self._later, self.mark)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = ours
        self._pidfd = os.pidfd_open(self.pid)
        hub.watch(self._control.fileno(), self._reported)
        hub.watch_always(self._pidfd, self._ended)

    def fork(self, number: int, settings: object, descriptors: Sequence[int]) -> None:
        """Ask for a worker; its descriptors belong to the zygote from now on."""
        self._send((protocol.FORK, number, settings), descriptors, close=True)

    def kill(self, number: int) -> None:
        """Ask for the end of a worker with all its descendants."""
        self._send((protocol.KILL, number), ())

    def adopt(self, snapshot: Snapshot) -> None:
        """Have workers forked from now on hold a state of the caller's already."""
        if snapshot.number != self.snapshot and len(snapshot.data) <= _LARGEST_STATE:
            self.snapshot = snapshot.number
            self._send((protocol.STATE, snapshot.data), ())

    def hurry(self) -> None:
        """Have it import now what it would import at leisure."""
        if self._later:
            later, self._later = self._later, ()
            self.load(later)

    def load(self, modules: tuple[str, ...]) -> None:
        """Have workers forked from now on hold more modules."""
        self._send((protocol.IMPORT, modules), ())

    def disown(self) -> tuple[int, int]:
        """Return what a forked child of this process has to close, itself."""
        # Detached, or else its finalizer closes whatever has this number by then.
        return self._control.detach(), self._pidfd

    def retire(self) -> None:
        """Have it exit as soon as its workers have; its end is reported later."""
        self._send((protocol.EXIT,), ())

    def close(self) -> None:
        """End the zygote with everything below it, and reap it. Idempotent."""
        if self._pidfd < 0:
            return
        self._release_socket((protocol.EXIT,))
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(_GRACE * 1000):
            self._signal(signal.SIGKILL)
            poll.poll(_GRACE * 1000)
        self._release()

    def _release_socket(self, last: Any = None) -> None:
        if self._control.fileno() >= 0:
            self._hub.unwatch(self._control.fileno())
            if last is not None:
                try:
                    self._control.setblocking(True)
                    self._control.settimeout(_GRACE)
                    protocol.send(self._control, last)
                except OSError:
                    pass
            self._control.close()
        for _, descriptors, close in self._outbox:
            if close:
                _close(descriptors)
        self._outbox.clear()

    def _release(self) -> int:
        self._release_socket()
        self._hub.unwatch(self._pidfd)
        status = 0
        try:
            _, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pass  # the program reaped it itself
        os.close(self._pidfd)
        self._pidfd = -1
        return status

    def _signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def _send(
        self, message: Any, descriptors: Sequence[int], *, close: bool = False
    ) -> None:
        self._outbox.append((message, descriptors, close))
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            message, descriptors, close = self._outbox[0]
            try:
                protocol.send(self._control, message, descriptors)
            except BlockingIOError:
                self._hub.watch(
                    self._control.fileno(),
                    self._reported,
                    select.EPOLLIN | select.EPOLLOUT,
                )
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    break  # it is dying: its pidfd will say so
                if message[0] == protocol.STATE:
                    self.snapshot = 0  # workers take it over themselves
                # Else only the settings of a worker can be that large.
                refused: Callable[[], None] = partial(
                    self._listener.worker_refused, message[1], errno.EMSGSIZE
                )
                self._hub.post(refused)
            self._outbox.popleft()
            if close:
                _close(descriptors)

    def _reported(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._hub.watch(self._control.fileno(), self._reported)
            self._flush()
        listener = self._listener
        while True:
            try:
                message, _ = protocol.receive(self._control, protocol.REPORT)
            except BlockingIOError:
                return
            except OSError:
                message = None
            if message is None:
                self._hub.unwatch(self._control.fileno())
                return
            kind, *details = message
            if kind == protocol.FORKED:
                listener.worker_forked(*details)
            elif kind == protocol.DIED:
                listener.worker_died(*details)
            elif kind == protocol.REFUSED:
                listener.worker_refused(*details)
            else:
                self.ready = True

    def _ended(self, _mask: int) -> None:
        if self._control.fileno() >= 0:
            self._reported(0)
        status = self._release()
        self._listener.zygote_died(self, status)


def _split(preload: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the modules that a task asked for, and those that are only convenient."""
    for standard in (STANDARD_PRELOAD, LEAN_PRELOAD):
        if preload[: len(standard)] == standard:
            return preload[len(standard) :], standard
    return preload, ()


def _spawn(
    control: int, preload: tuple[str, ...], later: tuple[str, ...], mark: str
) -> int:
    if not sys.executable:
        raise WorkerStartError(
            detail="this Python doesn't know its own executable (sys.executable is "
            "empty), as when it is embedded in another program"
        )
    root = protocol.__file__
    for _ in range(3):
        root = os.path.dirname(root)  # noqa: PTH120 - pathlib would be an import only for that
    boot = _BOOT.format(
        root=root,
        control=_CONTROL,
        caller=os.getpid(),
        path=list(map(str, sys.path)),
        preload=preload,
        later=later,
    )
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *interpreter_flags(), "-c", boot],
            {**os.environ, MARK: mark},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, control, _CONTROL),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_RESET,
        )
    except OSError as error:
        raise WorkerStartError(
            detail=f"the operating system refused a new process: {error}"
        ) from error


def interpreter_flags() -> list[str]:
    """Return the command-line flags that give an interpreter this one's settings."""
    flags = sys.flags
    arguments: list[str] = []
    for letter, level in (
        ("d", flags.debug),
        ("B", flags.dont_write_bytecode),
        ("S", flags.no_site),
        ("v", flags.verbose),
        ("b", flags.bytes_warning),
        ("O", flags.optimize),
    ):
        if level > 0:
            arguments.append("-" + letter * level)
    for flag, level in (
        ("-I", flags.isolated),
        ("-E", flags.ignore_environment and not flags.isolated),
        ("-s", flags.no_user_site and not flags.isolated),
        ("-P", flags.safe_path and not flags.isolated),
    ):
        if level:
            arguments.append(flag)
    if flags.dev_mode:
        arguments.extend(("-X", "dev"))
    arguments.extend(
        "-W" + option
        for option in sys.warnoptions
        if not (flags.dev_mode and option == "default")
    )
    for name, value in getattr(sys, "_xoptions").items():  # noqa: B009 - private
        if name not in {"dev", "frozen_modules", "importtime"}:
            arguments.extend(("-X", name if value is True else f"{name}={value}"))
    return arguments


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
