"""The worker: runs one call after the other and answers over its stream.

Data flow: frames come in over one stream and are handled strictly in order; each
call is answered before the next body begins. A call that was queued behind another
carries a *token*: its number, waiting in a pipe that both sides read. Whoever takes
the token owns the call, which the kernel decides, so that the caller can take back
what has not begun without this process's help.

Before a body is entered its number and the time are written to a page that the
caller sees: this alone says what had begun when a worker died.
"""

import _socket
import _thread
import os
import pickle
import sys
import time
from collections import deque
from mmap import mmap
from struct import Struct

from . import attach, codec, context, failures, frames, functions, mains

NUMBER = Struct("<Q")
MARK = Struct("<QQ")  # in the page: number of the call entered last, monotonic ns
ANSWER = Struct("<QQ")  # in front of every answer: the call's number, ns it took

# flags of a call
TOKEN = 1  # may be taken back until its token is taken
NOTIFY = 2  # its start is to be told
ASYNC = 4  # what the function returns is to be awaited
RICH = 8  # its arguments are an encoded value

# A process can't be forked and waited for in less: 30 us is a third of a fork.
LEAST_FORK_NS = 30_000
BROKEN_STREAM = 71  # exit code: this worker's descriptors were closed or damaged

current = None  # the Worker of this process; None in a process that is none


class Worker:
    """The state of one worker process.

    Its main thread runs the calls. While a body runs, threads of the body may send
    (`send` is thread-safe) and, one at a time, receive replies (`pump`).
    """

    def __init__(self, sock, page, tokens, overrides):
        self.sock = sock
        self.relay = None  # receives REPLY frames while a body runs
        self.endings = []  # called, once, when the running body has ended
        self._page = page
        self._tokens = tokens
        self._token = None
        self._overrides = overrides
        self._reader = frames.FrameReader()
        self._backlog = deque()
        self._writing = _thread.allocate_lock()
        self._functions = {}
        self._shared = {}
        self._context_error = None
        self._pid = os.getpid()
        self._forked = False
        os.register_at_fork(after_in_child=self._in_forked_child)

    def serve(self):
        """Run calls until the stream ends."""
        self.send(frames.pack(frames.HELLO, pickle.dumps(_hello(), 4)))
        handlers = {
            frames.CALLS: self._calls,
            frames.FUNCTION: self._function,
            frames.CONTEXT: self._context,
            frames.SHARED: self._share,
            frames.FORGET: self._forget,
            frames.REPLY: _ignore,
        }
        backlog = self._backlog
        while True:
            if not backlog:
                backlog.extend(self._reader.read(self.sock.recv_into))
                continue
            frame = backlog.popleft()
            if frame.kind == frames.EXIT:
                return
            handlers[frame.kind](frame)

    def send(self, pieces):
        """Write one frame. Thread-safe; a broken stream ends the process."""
        with self._writing:
            try:
                frames.send(self.sock, pieces)
            except OSError:
                os._exit(BROKEN_STREAM)

    def pump(self):
        """Receive once on behalf of a running body; keep what isn't its own."""
        for frame in self._reader.read(self.sock.recv_into):
            if frame.kind == frames.REPLY and self.relay is not None:
                self.relay(frame)
            else:
                self._backlog.append(frame)

    def _function(self, frame):
        (number,) = NUMBER.unpack_from(frame.body)
        self._functions[number] = bytes(frame.body[NUMBER.size :])

    def _context(self, frame):
        self._context_error = None
        try:
            state = codec.decode(codec.Blob(frame.body, ()))
            context.apply(state, self._overrides)
            mains.enter_main(state["main"])
        except BaseException as error:
            self._context_error = error

    def _share(self, frame):
        (number,) = NUMBER.unpack_from(frame.body)
        self._shared[number] = attach.received(
            frame.buffers[0], frame.buffers[1:], frame.readonly[1:]
        )

    def _forget(self, frame):
        functions_gone, shared_gone = pickle.loads(frame.body)
        for number in functions_gone:
            self._functions.pop(number, None)
        for number in shared_gone:
            self._shared.pop(number, None)

    def _calls(self, frame):
        for number, function, args, kwargs, flags in pickle.loads(frame.body):
            if flags & TOKEN and not self._take(number):
                continue
            if flags & RICH:
                args = attach.Attached(args, kwargs, frame, self._shared)
            self._run(number, function, args, kwargs, flags)

    def _take(self, number):
        """Take a call's token; False when the caller took the call back."""
        if self._token is None:
            try:
                data = os.read(self._tokens, NUMBER.size)
            except BlockingIOError:
                return False
            except OSError:
                os._exit(BROKEN_STREAM)
            if len(data) != NUMBER.size:
                return False
            (self._token,) = NUMBER.unpack(data)
        if self._token != number:
            return False
        self._token = None
        return True

    def _run(self, number, function, args, kwargs, flags):
        clock = time.monotonic_ns
        begun = clock()
        try:
            run = self._functions[function]
            if type(run) is bytes:
                run = self._functions[function] = functions.decode_function(run)
            if flags & RICH:
                args, kwargs = args.decode()
            if self._context_error is not None:
                raise self._context_error
            begun = clock()
            self._page[: MARK.size] = MARK.pack(number, begun)
            if flags & NOTIFY:
                self.send(frames.pack(frames.STARTED, ANSWER.pack(number, begun)))
            value = run(*args, **kwargs) if kwargs else run(*args)
            if flags & ASYNC:
                value = _await(value)
            took = clock() - begun
            if self._forked:
                self._leave_forked_child()
            kind, tail, buffers = _answer(value)
            value = None
        except BaseException as error:
            took = clock() - begun
            if self._forked:
                self._leave_forked_child()
            kind, tail, buffers = frames.FAILED, failures.encode_failure(error), ()
        args = kwargs = run = None
        if self.endings:
            endings, self.endings = self.endings, []
            for end in endings:
                end()
        dirty = 0
        if took > LEAST_FORK_NS and _has_children():
            dirty = frames.DIRTY
        _flush()
        self.send(frames.pack(kind, ANSWER.pack(number, took) + tail, buffers, dirty))

    def _in_forked_child(self):
        # A process that a body forked is no worker: our descriptors are not its own.
        self._forked = True
        for close in (self.sock.close, lambda: os.close(self._tokens)):
            try:
                close()
            except OSError:
                pass
        global current
        current = None

    def _leave_forked_child(self):
        if os.getpid() != self._pid:
            _flush()
            os._exit(0)
        self._forked = False


def _hello():
    return {
        "python": tuple(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "platform": sys.platform,
        "pid": os.getpid(),
    }


def _answer(value):
    """Encode what a body returned: kind of the frame, its body, its buffers."""
    if codec.simple(value):
        return frames.VALUE, pickle.dumps(value, 5), ()
    kind = frames.RESULT
    # Where the graph is not loaded nothing can have built a node.
    if "entangle._graph.node" in sys.modules:
        from entangle._graph import pack

        if pack.contains_node(value):
            value = pack.pack(value)
            kind = frames.GRAPH
    blob = codec.encode(value)
    return kind, b"", (blob.data, *blob.buffers)


def _await(awaitable):
    import asyncio

    async def result():
        return await awaitable

    return asyncio.run(result())


def _has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def _ignore(_):
    """Drop a reply that comes after the body that it was meant for has ended."""


def become(overrides, descriptors):
    """Turn this freshly forked process into a worker; returns when it is done.

    Args:
        overrides: ``env``, ``cwd``, ``nice``, ``cpus`` of this worker.
        descriptors: socket, standard output, standard error, page, tokens.
    """
    global current
    stream, out, err, page, tokens = descriptors
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for descriptor in (null, out, err):
        if descriptor > 2:
            os.close(descriptor)
    memory = mmap(page, 0)
    os.close(page)
    sock = _socket.socket(fileno=_out_of_reach(stream))
    sock.setblocking(True)
    tokens = _out_of_reach(tokens)
    for standard in (sys.stdout, sys.stderr):
        if standard is not None:
            standard.reconfigure(line_buffering=True)
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed(int.from_bytes(os.urandom(4), "little"))
    context.settle(overrides)
    current = Worker(sock, memory, tokens, overrides)
    try:
        current.serve()
    except EOFError:
        pass
    except frames.ProtocolError:
        os._exit(BROKEN_STREAM)
    except OSError:
        os._exit(BROKEN_STREAM)
    _flush()


def _out_of_reach(descriptor):
    """Move a descriptor above those that closing a range usually hits."""
    import fcntl
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    least = 960 if soft == resource.RLIM_INFINITY else min(960, soft - 16)
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(least, 3))
    except OSError:
        return descriptor
    os.close(descriptor)
    return high
