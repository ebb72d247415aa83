"""The parent of all local workers: a lean, single-threaded process that forks them.

Data flow: the caller writes requests to a sequenced-packet socket (fork with the new
worker's descriptors, kill, exit); the zygote answers with reports (forked, died).
It watches the caller by a pidfd, its children by SIGCHLD, and owns every descendant:
it is a subreaper, so whatever a dead worker leaves behind becomes its child, and a
child that is no worker is ended. A death is reported only when that is done.

It never blocks but in poll, and it is never the caller's thread's child in the sense
of a parent-death signal: the caller's *process* may outlive the thread.
"""

import _signal
import _socket
import array
import errno
import gc
import os
import pickle
import select
import sys

from . import native

READY, FORKED, DIED, REFUSED = range(4)  # reports to the caller
FORK, KILL, IMPORT, EXIT = range(4)  # requests of the caller
MESSAGE = 1 << 16
MOST_DESCRIPTORS = 8


def send(control, message, descriptors=()):
    """Send one message, with descriptors, over the sequenced-packet socket."""
    ancillary = []
    if descriptors:
        rights = array.array("i", descriptors)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
    control.sendmsg([pickle.dumps(message, 4)], ancillary)


def receive(control):
    """Return the next message and its descriptors; (None, []) at the end."""
    room = _socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
    data, ancillary, flags, _ = control.recvmsg(MESSAGE, room, _socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
    if not data or flags & _socket.MSG_CTRUNC:
        for descriptor in descriptors:
            os.close(descriptor)
        return None, []
    return pickle.loads(data), list(descriptors)


class Zygote:
    """Forks, kills and reaps workers until the caller asks it to exit or is gone."""

    def __init__(self, control, caller, become):
        self._control = control
        self._caller = caller
        self._become = become
        self._workers = {}  # pid -> worker's number
        self._pids = {}  # worker's number -> pid
        self._dead = []  # reports that wait until no orphan is left
        self._leaving = False
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakers = (self._wake, wake)
        self._poll = select.poll()
        for descriptor in (control.fileno(), caller, self._wake):
            self._poll.register(descriptor, select.POLLIN)
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, _ignore)
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        for number in (_signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(number, self._leave)

    def run(self):
        """Serve until everything is over."""
        try:
            send(self._control, (READY, os.getpid()))
        except OSError:
            self._leave()
        while not (self._leaving and not self._workers and not self._orphans()):
            # The time limit is for an orphan in uninterruptible sleep alone.
            waiting = 50 if self._leaving or self._dead else None
            for descriptor, _ in self._poll.poll(waiting):
                if descriptor == self._wake:
                    _drain(self._wake)
                elif descriptor == self._caller:
                    self._poll.unregister(self._caller)
                    self._leave()
                else:
                    self._serve()
            self._reap()

    def _serve(self):
        try:
            message, descriptors = receive(self._control)
        except (OSError, EOFError, pickle.UnpicklingError):
            message, descriptors = None, []
        if message is None:
            # A closed socket is no proof of death, but nobody can ask any more.
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
        else:
            self._leave()

    def _fork(self, number, settings, descriptors):
        if self._leaving:
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
            try:
                _signal.set_wakeup_fd(-1)
                for signal_number in (
                    _signal.SIGCHLD,
                    _signal.SIGTERM,
                    _signal.SIGHUP,
                ):
                    _signal.signal(signal_number, _signal.SIG_DFL)
                _signal.signal(_signal.SIGINT, _signal.default_int_handler)
                os.setsid()
                native.die_with_parent(_signal.SIGKILL)
                if os.getppid() == parent:
                    native.adopt_orphans()
                    self._control.close()
                    _close((self._caller, *self._wakers))
                    self._become(settings, descriptors)
            except BaseException:
                _print_exception()
                os._exit(70)
            os._exit(0)
        _close(descriptors)
        self._workers[pid] = number
        self._pids[number] = pid
        self._report((FORKED, number, pid))

    def _report(self, message):
        try:
            send(self._control, message)
        except OSError:
            self._leave()

    def _leave(self, *_):
        self._leaving = True
        for pid in self._workers:
            _kill(pid)

    def _reap(self):
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
            for pid in self._orphans():
                _kill(pid)
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
            if not self._orphans():
                dead, self._dead = self._dead, []
                for report in dead:
                    self._report(report)

    def _orphans(self):
        """Return our living children that are no workers."""
        return [pid for pid in children() if pid not in self._workers]


def children():
    """Return the process ids of this process's children, zombies included."""
    pid = os.getpid()
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid), "rb") as file:
            return [int(field) for field in file.read().split()]
    except OSError:
        return _children_by_scan(pid)


def _children_by_scan(parent):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


def _ignore(*_):
    """Do nothing: the handler exists for the wake-up it causes."""


def _kill(pid):
    try:
        os.kill(pid, _signal.SIGKILL)
    except ProcessLookupError:
        pass


def _close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def _drain(descriptor):
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _print_exception():
    try:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    except BaseException:  # the interpreter may be beyond printing
        pass


def preload(modules):
    """Import modules, so that workers forked from now on hold them."""
    for name in modules:
        try:
            __import__(name)
        except Exception:
            # Each call that needs the module will say so with its own traceback.
            pass
    # A collection in a child would otherwise touch, and so copy, every page of it.
    gc.collect()
    gc.freeze()


def main(descriptor, caller_pid, path, modules):
    """Be a zygote.

    Args:
        descriptor: the control socket.
        caller_pid: the process to live for.
        path: the caller's ``sys.path``.
        modules: names of modules that every worker is to hold already.
    """
    control = _socket.socket(fileno=descriptor)
    control.setblocking(True)
    native.adopt_orphans()
    try:
        caller = os.pidfd_open(caller_pid)
    except ProcessLookupError:
        return
    if os.getppid() != caller_pid:
        return  # the caller is gone, and its number may be somebody else's
    from . import main as worker

    sys.path[:] = path
    preload(modules)
    Zygote(control, caller, worker.become).run()
    control.close()
