"""Sessions of requests, and the connections below them that keep to a clock."""

from __future__ import annotations

import io
import logging
import os
import socket
import threading
import traceback
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from entangle.secrets import scrub

from ._clock import Clock, current
from ._resolver import addresses
from ._shown import is_secret

if TYPE_CHECKING:
    from collections.abc import Callable

# What is read of the body of a redirect, so that its connection can be used again.
_LEFT_OVER: Final = 1 << 16
# The environment that requests looks at.
_TELLS: Final = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUEST_METHOD"),
)
_HOSTS: Final = 64
CONNECT: Final = 10.0  # seconds that an address has to accept a connection


class _Timed(io.RawIOBase):
    """Reads of a socket, each with no more time than the exchange has left."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        super().__init__()
        self._sock = sock
        # Unbuffered: what keeps the socket open until it is closed, too.
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._clock.left)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Socket:
    """What a response asks of its socket: a file to read from."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self._sock = sock
        self._clock = clock

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock, self._clock))


class _Punctual:
    """A connection whose requests keep to the clock of the thread that makes them."""

    _clock: Clock | None = None

    def _new_conn(self) -> socket.socket:
        """Connect to the host, or to the proxy, by the first address that accepts."""
        this: Any = self
        clock = self._clock = current.clock
        if clock is None:
            return self._connected()
        host = this._dns_host  # noqa: SLF001 - the name as given
        # Each would have all of the time.
        places = self._addresses(host, clock)
        try:
            for tried, place in enumerate(places[:-1]):
                this.timeout = min(CONNECT, clock.left / (len(places) - tried))
                this._dns_host = place  # noqa: SLF001 - the name as given
                with suppress(urllib3.exceptions.HTTPError):
                    return self._connected()
            this.timeout = min(CONNECT, clock.left)
            this._dns_host = places[-1]  # noqa: SLF001 - the name as given
            return self._connected()
        finally:
            this._dns_host = host  # noqa: SLF001 - the name as given

    def _addresses(self, host: str, clock: Clock) -> list[str]:
        this: Any = self
        try:
            return addresses(host, this.port, clock.left)
        except UnicodeError:
            return [host]  # what is below says why it is none
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(host, this, error) from error

    def _connected(self) -> socket.socket:
        below: Any = super()
        sock: socket.socket = below._new_conn()  # noqa: SLF001 - the way to make others
        if self._clock is not None:
            # For what comes before the request: a proxy's answer, a handshake.
            try:
                sock.settimeout(self._clock.left)
            except TimeoutError:
                sock.close()
                raise
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._clock = current.clock
        super().request(*args, **kwargs)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        this: Any = self
        if self._clock is not None and this.sock is not None:
            this.sock.settimeout(self._clock.left)
        super().send(data)  # type: ignore[misc]

    def answered(self, sock: Any, *args: Any, **kwargs: Any) -> Any:
        """Make the response, as the class would that `http.client` calls here."""
        from http.client import HTTPResponse

        if self._clock is not None:
            sock = _Socket(sock, self._clock)
        return HTTPResponse(sock, *args, **kwargs)


class _Plain(_Punctual, HTTPConnection):
    response_class: Any = _Punctual.answered


class _Secure(_Punctual, HTTPSConnection):
    response_class: Any = _Punctual.answered


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: Any = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls: Any = _Secure


_POOLS: Final[dict[str, Any]] = {"http": _PlainPool, "https": _SecurePool}


class Punctual(requests.adapters.HTTPAdapter):
    """An adapter whose connections keep to the clock of their exchange."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager: Any = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class AbroadError(requests.RequestException):
    """A redirect to another host would take a secret in the body there."""


class NowhereError(requests.RequestException):
    """A redirect leads to what is no URL."""


class Session(requests.Session):
    """A session that gives nothing away on redirects, and reads little of them."""

    def __init__(self) -> None:
        super().__init__()
        self._surroundings: dict[object, dict[str, Any]] = {}

    def surroundings(self, url: str, *given: Any) -> dict[str, Any]:
        """Return how to send something to a URL, in this environment.

        As `merge_environment_settings`, but worked out once for a host and as long as
        the environment is the same: reading it takes as long as sending.

        Args:
            url: Where to.
            *given: Our own proxies, whether or how to verify, our certificate.
        """
        host = url.split("/", 3)[:3]
        told = [os.environ.get(name) for name in _TELLS]
        key = (*host, *told, repr(given))
        found = self._surroundings.get(key)
        if found is None:
            proxies, verify, cert = given
            merged: Any = self.merge_environment_settings(
                url, dict(proxies), True, verify, cert
            )
            if len(self._surroundings) >= _HOSTS:
                self._surroundings.clear()
            found = self._surroundings[key] = merged
        return {**found, "proxies": dict(found["proxies"])}

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        try:
            target = super().get_redirect_target(resp)
            if target is not None:
                urlsplit(urljoin(str(resp.url), target)).port  # noqa: B018 - is checked
        except ValueError:
            resp.close()
            raise NowhereError(response=resp) from None
        if target is not None:
            # Else all of it would be read, however much it is.
            body = b""
            with suppress(urllib3.exceptions.HTTPError, OSError):
                body = resp.raw.read(_LEFT_OVER, decode_content=False)
            consumed(resp, body)
            # What is left would be taken for the next answer.
            resp.raw.close()
        return target

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        # Typed or not, as the stubs that are installed say.
        this: Any = self
        below: Any = super()
        before: Any = response.request
        after: Any = prepared_request
        if this.should_strip_auth(before.url, after.url):
            for name, value in list(after.headers.items()):
                if private(name, value):
                    del after.headers[name]
            body = after.body
            if isinstance(body, str):
                body = body.encode()
            if isinstance(body, bytes):
                text = body.decode("latin-1")
                if scrub(text) != text:
                    raise AbroadError(response=response)
        below.rebuild_auth(prepared_request, response)


def consumed(response: requests.Response, body: bytes) -> None:
    """Make a response as if the library itself had read this body.

    The public way to read one knows no limit.
    """
    this: Any = response
    this._content = body  # noqa: SLF001 - see above
    this._content_consumed = True  # noqa: SLF001 - as above


def private(name: str, value: object) -> bool:
    """Tell whether a header is for the host alone that it was meant for."""
    if is_secret(name) or name.lower() in current.private:
        return True
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return scrub(text) != text


class Quiet(logging.Filter):
    """Takes secrets out of what urllib3 logs of its requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            # A header that can't be parsed is told with its traceback.
            told = "".join(traceback.format_exception(*record.exc_info))
            record.exc_text, record.exc_info = scrub(told).rstrip("\n"), None
        text = record.getMessage()
        clean = scrub(text)
        if clean != text:
            record.msg, record.args = clean, ()
        return True


_QUIET: Final = Quiet()


def quieten(*names: str) -> None:
    """Have loggers of the libraries below show no secrets."""
    for name in names:
        logging.getLogger(name).addFilter(_QUIET)


quieten("urllib3.connectionpool", "urllib3.util.retry", "urllib3.connection")


class _Local(threading.local):
    """The sessions of a thread, by what makes them, and the process that made them."""

    pid = 0

    def __init__(self) -> None:
        self.sessions: dict[object, requests.Session] = {}


class Sessions:
    """One session for each thread and kind, made when it is first needed.

    Thread-safe. They end with their threads, at the latest.
    """

    def __init__(self) -> None:
        self._local = _Local()
        self._all: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    def get(self, make: Callable[[], requests.Session]) -> requests.Session:
        """Return the calling thread's session that this function makes."""
        local = self._local
        if local.pid != os.getpid():
            # A fork's connections belong to its parent.
            local.pid, local.sessions = os.getpid(), {}
        session = local.sessions.get(make)
        if session is None:
            session = local.sessions[make] = make()
            with self._lock:
                self._all.add(session)
        if isinstance(session, Session):
            # What one call was told is none of the next one's business.
            session.cookies.clear()
        return session

    def close(self) -> None:
        """Close the sessions of all threads."""
        with self._lock:
            sessions = list(self._all)
        for session in sessions:
            session.close()


sessions: Final = Sessions()


def plain_session() -> Session:
    """Make a session of ours."""
    return session_by(Punctual)


def session_by(adapter: Callable[[], Any]) -> Session:
    """Make a session of ours that sends requests by such adapters."""
    session = Session()
    session.mount("https://", adapter())
    session.mount("http://", adapter())
    agent = session.headers["User-Agent"]
    session.headers["User-Agent"] = f"entangle-http/0.1 {agent!s}"
    return session
