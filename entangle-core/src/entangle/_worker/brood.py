"""The workers that one process has forked, and whatever these leave behind.

The process is single-threaded and a subreaper: what a dead worker leaves behind becomes
its child, and a child that is no worker is ended. A death counts when that is done.
"""

from __future__ import annotations

import gc
import os
import sys

from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable
    from typing import NoReturn
else:
    # The extension module alone: `signal` makes enumerations, which takes time.
    import _signal

CRASHED = 70  # exit code: a worker failed outside of any call


class Brood:
    """The children of this process by the numbers that they were given."""

    def __init__(self) -> None:
        self.workers: dict[int, int] = {}  # pid -> worker's number
        self._pids: dict[int, int] = {}  # worker's number -> pid
        # Those whose end is not told, since an orphan is left.
        self._dead: list[tuple[int, int]] = []

    @property
    def settling(self) -> bool:
        """Whether a worker has died whose orphans have not."""
        return bool(self._dead)

    def fork(self, number: int, begin: Callable[[], None]) -> int:
        """Fork a worker, which runs `begin` and ends.

        Returns:
            Its process id.

        Raises:
            OSError: it can't be forked.
        """
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            _be_worker(parent, begin)
        self.workers[pid] = number
        self._pids[number] = pid
        return pid

    def kill(self, number: int) -> None:
        """End a worker, if it is there."""
        pid = self._pids.get(number)
        if pid is not None:
            kill(pid)

    def kill_all(self) -> None:
        """End all workers."""
        for pid in self.workers:
            kill(pid)

    def reap(self, *, all_over: bool = False) -> list[tuple[int, int]]:
        """Collect the dead, and end what they left behind.

        Args:
            all_over: End all orphans, also if no worker has died.

        Returns:
            The numbers of workers that are gone with all they left, and how they ended,
            as of waitpid.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            number = self.workers.pop(pid, None)
            if number is not None:
                del self._pids[number]
                self._dead.append((number, status))
        if self._dead or all_over:
            orphans = self.orphans()
            for pid in orphans:
                kill(pid)
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
            if not orphans or not self.orphans():
                dead, self._dead = self._dead, []
                return dead
        return []

    def orphans(self) -> list[int]:
        """Return our living children that are no workers."""
        return [pid for pid in children() if pid not in self.workers]


def _be_worker(parent: int, begin: Callable[[], None]) -> NoReturn:
    try:
        _signal.set_wakeup_fd(-1)
        for signal_number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(signal_number, _signal.SIG_DFL)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        os.setsid()
        native.die_with_parent(_signal.SIGKILL)
        if os.getppid() == parent:
            native.adopt_orphans()
            begin()
    except BaseException:  # noqa: BLE001 - nothing may return into the parent
        _print_exception()
        os._exit(CRASHED)
    os._exit(0)


def _print_exception() -> None:
    try:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001, S110 - the interpreter may be beyond printing
        pass


def kill(pid: int) -> None:
    """End a process, if it is there."""
    try:
        os.kill(pid, _signal.SIGKILL)
    except ProcessLookupError:
        pass


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
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - as PTH123
    except OSError:
        return []  # no such system: what a worker leaves behind is not to be found
    found: list[int] = []
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - pathlib would be an import only for that
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


def wakeable(*numbers: int) -> tuple[int, int]:
    """Have signals wake a poll, by a pipe.

    Args:
        numbers: The signals that are to do nothing else.

    Returns:
        The descriptor to poll, and that which is written to.
    """
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_blocking(descriptor, False)
    _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in numbers:
        _signal.signal(number, _ignore)
    return read, write


def drained(descriptor: int) -> None:
    """Empty the pipe of `wakeable`."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _ignore(*_: object) -> None:
    """Do nothing: the handler exists for the wake-up it causes."""


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
