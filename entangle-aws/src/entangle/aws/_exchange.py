"""Requests whose answers are waited for by one thread, however many they are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from . import _network
from ._crew import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")

_ASIDE: Final = 8  # threads for what may block
_KEPT: Final = 32  # connections that are kept for the next request
_IDLE: Final = 20.0  # seconds for which they are
_PATIENCE: Final = {"connect": 10.0, "write": 60.0, "read": 930.0}
_CLOSING: Final = 10.0  # seconds
_QUIET: Final = 60  # seconds; what is quiet for minutes is dropped on the way


class Request(NamedTuple):
    """A request of HTTP.

    Attributes:
        method: What to do.
        url: With what.
        headers: All but those that go without saying.
        body: What is sent.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """What was answered.

    Attributes:
        status: The code.
        headers: By name, as it was sent.
        body: The whole of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """Coroutines on a thread of their own, and the connections that they share.

    Its thread is there from the first coroutine on. Thread-safe.

    Args:
        bundle: A file with certificates to trust beside the usual ones; empty for none.

    Attributes:
        room: Held by who is about to send a request, until it is answered: as many as
            this process has descriptors for.
    """

    def __init__(self, bundle: str = "") -> None:
        self._bundle = bundle
        self._lock = threading.Lock()
        self._crew = Crew(_ASIDE)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self.room = asyncio.Semaphore(_most())
        self._closed = False
        self._pools: dict[str, Any] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Have a coroutine run; to cancel the future cancels it.

        Raises:
            RuntimeError: It was closed.
        """
        with self._lock:
            if self._closed:
                coroutine.close()
                raise RuntimeError("cannot send requests after it was closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._live,
                    args=(self._loop,),
                    name="entangle-aws",
                    daemon=True,
                )
                self._thread.start()
            answer: Future[T] = Future()
            self._loop.call_soon_threadsafe(self._begin, self._loop, coroutine, answer)
            return answer

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        answer: Future[T],
    ) -> None:
        if answer.cancelled():
            coroutine.close()
            return
        task = loop.create_task(coroutine)

        def ended(task: asyncio.Task[T]) -> None:
            # Who cancels it meanwhile has got what it wants.
            with contextlib.suppress(InvalidStateError):
                if task.cancelled():
                    answer.cancel()
                elif error := task.exception():
                    answer.set_exception(error)
                else:
                    answer.set_result(task.result())

        def cancel(answer: Future[T]) -> None:
            # One that is closed has cancelled all.
            with contextlib.suppress(RuntimeError):
                if answer.cancelled():
                    loop.call_soon_threadsafe(task.cancel)

        task.add_done_callback(ended)
        answer.add_done_callback(cancel)

    def close(self) -> None:
        """Cancel what is not over, and close all connections."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        self._crew.close()
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(self._end.set)
        if thread is not threading.current_thread():
            thread.join(_CLOSING)

    async def aside(self, work: Callable[[], T]) -> T:
        """Have something done by another thread, since it may take its time."""
        return await asyncio.wrap_future(_done_by(self._crew, work))

    async def send(self, request: Request) -> Answer:
        """Send a request, once, and wait for the whole answer.

        Raises:
            botocore.exceptions.EndpointConnectionError: It was not sent: there is no
                connection.
            botocore.exceptions.ConnectionClosedError: It may have been.
        """
        http: Any = import_module("httpcore")
        url = request.url
        names = [
            (name.encode(), value.encode()) for name, value in request.headers.items()
        ]
        try:
            answer = await self._pool(url).request(
                request.method,
                url,
                headers=names,
                content=request.body,
                extensions={"timeout": _PATIENCE},
            )
        except (http.ConnectError, http.ConnectTimeout, http.ProxyError) as error:
            raise _network.unreached(url, error) from error
        except (http.NetworkError, http.TimeoutException, http.ProtocolError) as error:
            raise _network.broken(url, error) from error
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in answer.headers
        }
        return Answer(answer.status, headers, answer.content)

    def _pool(self, url: str) -> Any:
        """Return the connections by which an address is reached: directly, or not."""
        proxy = _network.proxy(url)
        found = self._pools.get(proxy)
        if found is None:
            found = self._pools[proxy] = _connections(proxy, self._bundle)
        return found

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_default_executor(_Aside(self._crew))
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._end.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for pool in self._pools.values():
            with contextlib.suppress(Exception):  # they are closed all the same
                await pool.aclose()


class _Aside(ThreadPoolExecutor):
    """What the loop looks addresses up with: threads that no program's end waits for.

    The usual ones are waited for, and as many as the machine likes.
    """

    def __init__(self, crew: Crew) -> None:
        super().__init__(1)
        self._crew = crew

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return _done_by(self._crew, partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base class
        pass


def _done_by(crew: Crew, work: Callable[[], T]) -> Future[T]:
    done: Future[T] = Future()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whose it is raises it
            done.set_exception(error)

    crew.run(run)
    return done


def _most() -> int:
    """Return how many connections leave this process descriptors for all the rest."""
    try:
        resource: Any = import_module("resource")
    except ImportError:  # where there is no such limit
        return 1 << 16
    limit = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return max(1, limit // 2) if limit > 0 else 1 << 16


def _connections(proxy: str, bundle: str) -> Any:
    http: Any = import_module("httpcore")
    trusted = http.default_ssl_context()
    if bundle:
        trusted.load_verify_locations(bundle)
    through: Any = None
    if proxy:
        parts = urlsplit(proxy)
        named = (unquote(parts.username or ""), unquote(parts.password or ""))
        through = http.Proxy(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            auth=named if parts.username else None,
        )
    return http.AsyncConnectionPool(
        ssl_context=trusted,
        proxy=through,
        # There are as many as there are requests.
        max_connections=None,
        max_keepalive_connections=_KEPT,
        keepalive_expiry=_IDLE,
        socket_options=[*_alive()],
    )


def _alive() -> Iterator[tuple[int, int, int]]:
    """Yield what keeps a quiet connection known to all that it passes."""
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        option: int | None = getattr(socket, name, None)
        if option is not None:
            yield socket.IPPROTO_TCP, option, _QUIET
