"""The worker: runs one call after the other and answers over its stream.

Data flow: frames come in over one stream and are handled strictly in order; each
call is answered before the next body begins. A call that was queued behind another
carries a *token*: its number, waiting in a pipe that both sides read. Whoever takes
the token owns the call, which the kernel decides, so that the caller can take back
what has not begun without this process's help.

Before a body is entered its number and the time are written to a page that the
caller sees: this alone says what had begun when a worker died. The values of quick
calls are sent several at a time, and meanwhile lie in that page (see `page`).
"""

from __future__ import annotations

import _pickle as pickle
import _socket
import _thread
import os
import select
import sys
import time
from _struct import Struct
from mmap import mmap

from . import (
    attach,
    codec,
    context,
    failures,
    frames,
    functions,
    guarded,
    mains,
    native,
    page,
    pieces,
    preview,
    space,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn, Union

    from .modules import Modules

    Function = Callable[..., Any]
else:
    # As in `zygote`: what surrounds it takes longer to import.
    from _collections import deque

NUMBER = Struct("<Q")
ANSWER = Struct("<QQ")  # in front of an answer: the call's number, ns it took

# flags of a call
TOKEN = 1  # may be taken back until its token is taken
NOTIFY = 2  # its start is to be told
ASYNC = 4  # what the function returns is to be awaited
RICH = 8  # its arguments are an encoded value
SHOWN = 16  # what it returns is to be said in a few words, too

# A process can't be forked and waited for in less: 30 us is a third of a fork.
LEAST_FORK_NS = 30_000
QUICK_NS = 50_000  # what takes longer is not worth making wait for others
_LOOK = 0.01  # seconds after which who waits for another thread looks by himself
BROKEN_STREAM = 71  # exit code: this worker's descriptors were closed or damaged

_STANDARD = range(3)  # the descriptors that every program has
_NOTHING: Mapping[str, Any] = {}

current: Worker | None = None  # of this process; None in a process that is none


class Worker:
    """The state of one worker process.

    Its main thread runs the calls. While a body runs, threads of the body may send
    (`send` is thread-safe) and, one at a time, receive replies (`pump`).
    """

    def __init__(
        self,
        sock: _socket.socket,
        memory: mmap,
        tokens: int,
        overrides: Mapping[str, Any],
        unsettled: BaseException | None = None,
        problem: BaseException | None = None,
    ) -> None:
        """Take over a worker's descriptors.

        Args:
            sock: the stream to the caller.
            memory: the page that the caller sees.
            tokens: the pipe of tokens.
            overrides: ``env``, ``cwd``, ``nice``, ``cpus``.
            unsettled: what each call raises.
            problem: what each call raises until a state of the caller's comes.
        """
        self.sock = sock
        # Receives REPLY frames while a body runs.
        self.relay: Callable[[frames.Frame], None] | None = None
        # Called, once, when the running body has ended.
        self.endings: list[Callable[[], None]] = []
        self._page = page.Page(memory)
        self._tokens = tokens
        self._token: int | None = None
        self._several = False  # whether the calls being run came with others
        self._overrides = overrides
        self._unsettled = unsettled
        self._reader = frames.FrameReader()
        self._backlog: deque[frames.Frame] = deque()
        self._writing = _thread.allocate_lock()
        self._reading = _thread.allocate_lock()
        self.space = space.Space(self)
        # Where modules come from, in a worker that has not those of the caller.
        self.modules: Modules | None = None
        # How values and errors are written: otherwise where nobody trusts this process.
        self.answer = written
        self.failure = failures.encode_failure
        self._functions: dict[int, Union[bytes, Function]] = {}
        self._shared: dict[int, attach.Parcel] = {}
        self._context_error = unsettled or problem
        self._forked = False
        self.running = 0  # the number of the call whose body is being run
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        # Asks for no event: what it finds are descriptors that are closed.
        self._standard = select.poll()
        for descriptor in _STANDARD:
            self._standard.register(descriptor, 0)

    def serve(self) -> None:
        """Run calls until the stream ends or the caller says so.

        Raises:
            EOFError, OSError: the stream ended.
            ProtocolError: something else than the caller's frames arrived.
        """
        handlers: dict[int, Callable[[frames.Frame], None]] = {
            frames.CALLS: self._calls,
            frames.FUNCTION: self._function,
            frames.CONTEXT: self._context,
            frames.SHARED: self._share,
            frames.FORGET: self._forget,
            frames.UNMAP: space.unmap,
            frames.REPLY: _ignore,
        }
        backlog = self._backlog
        while True:
            if not backlog:
                if self._damaged():
                    os._exit(BROKEN_STREAM)
                if pieces.released:
                    self.space.tell_released()
                # A thread that a body has left may wait for memory, and receive.
                if self._reading.acquire(True, _LOOK):
                    try:
                        if not backlog:
                            self._receive(0)
                    finally:
                        self._reading.release()
                continue
            frame = backlog.popleft()
            if frame.kind == frames.EXIT:
                return
            handler = handlers.get(frame.kind)
            if handler is None:
                raise frames.ProtocolError(f"a frame of kind {frame.kind}")
            handler(frame)
            del frame  # with the shared memory that it holds

    def send(self, pieces: Sequence[frames.Buffer]) -> None:
        """Write one frame. Thread-safe; a broken stream ends the process."""
        with self._writing:
            if self._page.size:
                self._write_held()
            self._write(pieces)

    def _write(self, pieces: Sequence[frames.Buffer]) -> None:
        try:
            frames.send(self.sock, pieces)
        except BaseException:  # noqa: BLE001 - also what a signal's handler raises
            # Half a frame may be out: the caller would take the next one for
            # the rest of it, and wait for ever.
            os._exit(BROKEN_STREAM)

    def _write_held(self, last: bytes = b"") -> None:
        self._write(frames.pack(frames.VALUES, self._page.held() + last))
        self._page.sent()

    def _send_value(self, answer: bytes, took: int, now: int) -> None:
        """Send a value, or keep it for a moment if the next call may be as quick."""
        with self._writing:
            alone = not self._several or took > QUICK_NS
            if alone or not self._page.hold(answer, now):
                self._write_held(answer)

    def leave(self) -> None:
        """Stop being a worker: this process was forked from one by a body."""
        self._forked = True
        # They are the worker's, who still needs them.
        self.sock.close()
        try:
            os.close(self._tokens)
        except OSError:
            pass  # the body has closed everything

    def _damaged(self) -> bool:
        """Tell whether a body has closed what later ones need."""
        for stream in self._streams:
            if stream is not None and stream.closed:
                return True
        return any(mask & select.POLLNVAL for _, mask in self._standard.poll(0))

    def pump(self) -> None:
        """Receive what is there on behalf of a running body; keep what isn't its own."""
        # Another thread that waits for memory may be about to receive it.
        if self._reading.acquire(False):
            try:
                self._receive(_socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            finally:
                self._reading.release()

    def await_frame(self, arrived: Callable[[], bool]) -> None:
        """Receive, on behalf of a running body, until something has arrived."""
        while not arrived():
            # Another thread may receive it, and then go on to wait for what comes next.
            if self._reading.acquire(True, _LOOK):
                try:
                    if not arrived():
                        self._receive(0)
                finally:
                    self._reading.release()

    def _receive(self, flags: int) -> None:
        def receive(buffer: memoryview) -> int:
            return self.sock.recv_into(buffer, 0, flags)

        for frame in self._reader.read(receive):
            self._sort(frame)

    def _sort(self, frame: frames.Frame) -> None:
        """Keep a frame until its turn comes, or give it to who waits for it."""
        if frame.kind == frames.GRANTED:
            self.space.answered(frame)
        elif frame.kind == frames.SOURCE and self.modules is not None:
            self.modules.answered(frame)
        elif frame.kind == frames.REPLY and self.relay is not None:
            self.relay(frame)
        else:
            self._backlog.append(frame)

    def _function(self, frame: frames.Frame) -> None:
        (number,) = NUMBER.unpack_from(frame.body)
        self._functions[number] = bytes(frame.body[NUMBER.size :])

    def _context(self, frame: frames.Frame) -> None:
        self._context_error = self._unsettled
        try:
            take_over(bytes(frame.body), self._overrides)
        except BaseException as error:  # noqa: BLE001 - whatever it is, calls tell
            self._context_error = error

    def _share(self, frame: frames.Frame) -> None:
        (number,) = NUMBER.unpack_from(frame.body)
        self._shared[number] = attach.received(
            frame.buffers[0], frame.buffers[1:], frame.marks[1:]
        )

    def _forget(self, frame: frames.Frame) -> None:
        functions_gone, shared_gone = pickle.loads(frame.body)
        for number in functions_gone:
            self._functions.pop(number, None)
        for number in shared_gone:
            self._shared.pop(number, None)

    def _calls(self, frame: frames.Frame) -> None:
        entries = pickle.loads(frame.body)
        self._several = len(entries) > 1
        if frame.flags & frames.ALIKE:
            entries = _alike(*entries)
        elif frame.flags & frames.APART:
            entries = map(pickle.loads, entries)
        for number, function, args, kwargs, flags in entries:
            if flags & TOKEN and not self._take(number):
                continue
            if flags & RICH:
                message = attach.Attached(args, kwargs, frame, self._shared)
                self._run(number, function, message, None, flags)
            else:
                self._run(number, function, args, kwargs, flags)
        if self._page.size:
            with self._writing:
                self._write_held()

    def _take(self, number: int) -> bool:
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

    def _run(  # noqa: C901, PLR0912 - in one piece: calls cost, and every task's come here
        self,
        number: int,
        function: int,
        args: Any,  # encoded, where flags say RICH
        kwargs: dict[str, Any] | None,
        flags: int,
    ) -> None:
        clock = time.monotonic_ns
        begun = clock()
        try:
            run: Any = self._functions[function]
            if type(run) is bytes:
                run = self._functions[function] = functions.decode_function(run)
            if flags & RICH:
                args, kwargs = args.decode()
            if self._context_error is not None:
                # Without what earlier raises have added to it.
                raise self._context_error.with_traceback(None)  # noqa: TRY301
            self.running = number
            begun = clock()
            page.MARK.pack_into(self._page.memory, 0, number, begun)
            if flags & NOTIFY:
                self.send(frames.pack(frames.STARTED, ANSWER.pack(number, begun)))
            value = run(*args, **kwargs) if kwargs else run(*args)
            if flags & ASYNC:
                value = _await(value)
            took = clock() - begun
            if self._forked:
                end_forked_child(None)
            kind, body, buffers = self.answer(number, took, value, flags & SHOWN)
            value = args = kwargs = run = None
            space.seal()
        except BaseException as error:  # noqa: BLE001 - a body may raise anything
            took = clock() - begun
            if self._forked:
                end_forked_child(error)
            if error is self._context_error:
                error = error.with_traceback(None)  # it has no line of the user's
            failure = self.failure(_told(error))
            kind, body, buffers = frames.FAILED, ANSWER.pack(number, took) + failure, ()
        self.running = 0
        args = kwargs = run = None
        if self.endings:
            endings, self.endings = self.endings, []
            for end in endings:
                end()
        dirty = _settled(took)
        _flush()
        if pieces.released:
            self.space.tell_released()
        if (sys.stdin, sys.stdout, sys.stderr) != self._streams:
            sys.stdin, sys.stdout, sys.stderr = self._streams
        if kind == frames.VALUES and not dirty:
            self._send_value(body, took, begun + took)
        else:
            self.send(frames.pack(kind, body, buffers, dirty))


def _in_forked_child() -> None:
    global current
    worker, current = current, None
    if worker is not None:
        worker.leave()
    memory = sys.modules.get("entangle._worker.memory")
    if memory is not None and hasattr(memory, "seal"):
        memory.start_over()
    pieces.Source.clear()


def end_forked_child(error: BaseException | None) -> NoReturn:
    """End a process that a body has forked, as a program ends."""
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
            code = 1
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    _flush()
    os._exit(code & 0xFF)


def _alike(
    number: int, function: int, flags: int, arguments: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[Any, ...]]:
    """Yield calls of one function; all but the first wait behind another one."""
    for args in arguments:
        yield number, function, args, None, flags
        flags |= TOKEN
        number += 1


def written(
    number: int, took: int, value: Any, shown: int
) -> tuple[int, bytes, Sequence[Any]]:
    """Encode what a body returned.

    Args:
        number: The call's.
        took: How many nanoseconds the body took.
        value: What it returned.
        shown: Whether it is to be said in a few words, too, however small it is.

    Returns:
        The kind of the frame, its body, its buffers.
    """
    if codec.simple(value):
        data = pickle.dumps(value, 5)
        return frames.VALUES, page.VALUE.pack(number, took, len(data)) + data, ()
    kind = frames.RESULT
    # Where the graph is not loaded nothing can have built a node.
    if "entangle._graph.node" in sys.modules:
        from entangle._graph import pack

        if pack.contains_node(value):
            value = pack.pack(value)
            kind = frames.GRAPH
    blob = codec.encode(value, "result")
    body = ANSWER.pack(number, took)
    # Who has what is large does not look into it, nor keep it longer than it must.
    words = shown or len(blob.data) + blob.nbytes > attach.SMALL
    if words and kind == frames.RESULT:
        body += preview.preview(value).encode(errors="replace")
    parts = attach.in_memory((blob.data, *blob.buffers))
    return kind, body, parts


def _told(error: BaseException) -> BaseException:
    """Return what importing a function's module raised instead of our own error."""
    while type(error) is codec.DecodeError and error.__cause__ is not None:
        error = error.__cause__  # that of an argument inside of the arguments
    return error


def _await(awaitable: Awaitable[Any]) -> Any:
    import asyncio

    async def result() -> Any:
        return await awaitable

    return asyncio.run(result())


def _settled(took: int) -> int:
    """Look after what a body may have left, if it took long enough for that.

    Returns:
        The flags of its answer.
    """
    if took <= LEAST_FORK_NS:
        return 0
    native.flush()
    return frames.DIRTY if space.has_children() else 0


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - a task may have put anything there
            pass


def _ignore(_: frames.Frame) -> None:
    """Drop a reply that comes after the body that it was meant for has ended."""


def take_over(data: bytes, overrides: Mapping[str, Any] = _NOTHING) -> None:
    """Make this process's state that of the caller.

    Args:
        data: the caller's state, encoded.
        overrides: what this process has otherwise.

    Raises:
        Exception: a working directory that can't be entered, say.
    """
    state = codec.decode(codec.Blob(data, ()))
    context.apply(state, overrides)
    mains.enter_main(state["main"])


def become(
    overrides: Mapping[str, Any],
    descriptors: Sequence[int],
    problem: Union[BaseException, None] = None,
) -> None:
    """Turn this freshly forked process into a worker; returns when it is done.

    Args:
        overrides: ``env``, ``cwd``, ``nice``, ``cpus`` of this worker.
        descriptors: socket, standard output, standard error, page, tokens.
        problem: what its parent has met in taking over the caller's state; calls
            raise it until they bring a state of their own.
    """
    *streams, shared, tokens = descriptors
    memory = mmap(shared, 0)
    guarded.seal(shared)
    os.close(shared)
    worker = establish((*streams, tokens), memory, overrides, problem)
    pieces.Source.ask = worker.space.ask
    pieces.Source.failed = worker.space.unusable
    pieces.Source.share = worker.space.share
    pieces.Source.find = worker.space.find
    serve(worker)


def establish(
    descriptors: Sequence[int],
    memory: mmap,
    overrides: Mapping[str, Any],
    problem: Union[BaseException, None] = None,
) -> Worker:
    """Make this freshly forked process a worker, which then has to `serve`.

    Args:
        descriptors: socket, standard output, standard error, tokens.
        memory: the page, shared with the caller.
        overrides: as `become`.
        problem: as `become`.
    """
    global current  # noqa: PLW0603 - says what this process is
    stream, out, err, tokens = descriptors
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for descriptor in (null, out, err):
        if descriptor not in _STANDARD:
            os.close(descriptor)
    sock = _socket.socket(fileno=guarded.out_of_reach(stream))
    sock.setblocking(True)
    tokens = guarded.out_of_reach(tokens)
    for standard in (sys.stdout, sys.stderr):
        # Other programs' modules put other things there, or nothing.
        reconfigure = getattr(standard, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed(int.from_bytes(os.urandom(4), "little"))
    unsettled = None
    try:
        context.settle(overrides)
    except Exception as error:  # noqa: BLE001 - the calls that ask for it will tell
        unsettled = error
    current = Worker(sock, memory, tokens, overrides, unsettled, problem)
    os.register_at_fork(before=pieces.forked, after_in_child=_in_forked_child)
    return current


def serve(worker: Worker) -> None:
    """Run calls until nobody has more of them."""
    try:
        worker.serve()
    except EOFError:
        pass
    except (frames.ProtocolError, OSError):
        os._exit(BROKEN_STREAM)
    _flush()
