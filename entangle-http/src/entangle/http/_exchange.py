"""One exchange with a server: an order goes out, a value comes in."""

from __future__ import annotations

import base64
import logging
import re
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
import requests.auth
from requests.structures import CaseInsensitiveDict

from entangle.errors import EntangleError
from entangle.secrets import HIDDEN, Secret, known, scrub

from . import _body
from ._clock import Clock, current
from ._failure import BodyProblemError, Exchange
from ._forms import is_mapping, is_path, is_several
from ._read import read
from ._shown import shown
from ._trace import tell, trace_headers
from ._transport import CONNECT, Session, private, sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

log = logging.getLogger("entangle.http")

_EXCERPT: Final = 2048
_LEAST_ERROR: Final = 400
_BREAK: Final = re.compile(r"[\r\n\0]")


class Order(NamedTuple):
    """What to ask for, and what is wanted of the answer. Secrets are still names.

    Attributes:
        method: The method, in capitals.
        url: Makes the URL; may read secrets.
        params: The query.
        headers: The headers, by name.
        json: What the body says as JSON; None for no such body.
        data: A form, or the body itself.
        files: Files to send, by field.
        auth: Who asks: a token, or a name with a password.
        proxies: Proxies by scheme, besides those of the environment.
        verify: Whether, or by which file, the server's certificate is checked.
        cert: Our own certificate.
        timeout: How many seconds it may all take.
        raise_for_status: Whether a status of 400 or more is an error.
        wanted: One of `_wanted.KINDS`.
        limit: How many bytes the body may have.
        retries: How many more attempts a passing failure is worth.
        longest: How many seconds a server may ask to wait.
        session: Makes the session of a thread.
    """

    method: str
    url: Callable[[], str]
    params: Mapping[str, Any]
    headers: Mapping[str, Any]
    json: Any
    data: Any
    files: Mapping[str, Any]
    auth: Any
    proxies: Mapping[str, Any]
    verify: bool | str
    cert: Any
    timeout: float
    raise_for_status: bool
    wanted: str
    limit: float
    retries: int
    longest: float
    session: Callable[[], requests.Session]


@contextmanager
def exchanged(order: Order, attempt: int) -> Generator[Any]:
    """Make the request and give what is wanted of the response.

    Args:
        order: What to ask for.
        attempt: Which attempt of the call this is.

    Raises:
        RequestError: It failed.
        SecretError: A secret is not to be had here.
    """
    url = order.url()
    clock = Clock(order.timeout)
    exchange = Exchange(
        order.method,
        shown(url),
        attempt=attempt,
        clock=clock,
        retries=order.retries,
        longest=order.longest,
        limit=order.limit,
    )
    with ExitStack() as stack:
        failure: BaseException | None = None
        value = None
        try:
            value = _value(order, url, exchange, stack)
        except EntangleError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever the libraries below raise
            failure = exchange.failure(error)
        log.debug(
            "%s %s: %s, %.3f s",
            order.method,
            exchange.url,
            exchange.status,
            clock.elapsed,
        )
        tell(exchange)
        if failure is not None:
            # Not where the other is being handled: it may show what is secret.
            raise failure
        clock.stop()
        try:
            yield value
        finally:
            exchange.ended = True


def _value(order: Order, url: str, exchange: Exchange, stack: ExitStack) -> Any:
    response = _sent(order, url, exchange, stack)
    stack.callback(response.close)
    exchange.status = response.status_code
    exchange.url = shown(response.url)
    if order.raise_for_status and response.status_code >= _LEAST_ERROR:
        excerpt = _excerpt(response)
        raise exchange.refused(
            response.status_code, str(response.reason or ""), response.headers, excerpt
        )
    wanted = order.wanted
    if wanted == "chunks":
        return _guarded(response, exchange)
    if wanted == "file":
        return stack.enter_context(_body.on_disk(response, exchange))
    body = _body.whole(response, exchange)
    if wanted == "bytes":
        return body
    if wanted == "text":
        return _body.text(response, body)
    if wanted == "json":
        return _body.parsed(response, body)
    return _harmless(response)


def _sent(
    order: Order, url: str, exchange: Exchange, stack: ExitStack
) -> requests.Response:
    session = sessions.get(order.session)
    clock = exchange.clock
    prepared = session.prepare_request(_request(order, url, stack))
    exchange.url = shown(str(prepared.url))
    proxies = {name: _read(value) for name, value in order.proxies.items()}
    given = proxies, order.verify, order.cert
    settings: Any
    if isinstance(session, Session):
        settings = session.surroundings(str(prepared.url), *given)
    else:
        settings = session.merge_environment_settings(
            str(prepared.url), given[0], True, *given[1:]
        )
    current.clock = clock
    current.private = frozenset(
        [
            name.lower()
            for name, value in order.headers.items()
            if isinstance(value, Secret)
        ]
    )
    try:
        return session.send(
            prepared, timeout=(min(CONNECT, clock.left), clock.left), **settings
        )
    finally:
        current.clock = None


def _request(order: Order, url: str, stack: ExitStack) -> requests.Request:
    headers: dict[str, str] = {**trace_headers()}
    for name, value in order.headers.items():
        headers[name] = text = str(_read(value))
        if _BREAK.search(text):
            raise ValueError(f"the header {name} holds a line break")
    return requests.Request(
        order.method,
        url,
        headers=headers,
        params={
            name: _read(_flat(name, value)) for name, value in order.params.items()
        },
        json=_read(order.json),
        data=_read(order.data),
        files={name: _opened(value, stack) for name, value in order.files.items()},
        auth=_auth(order.auth),
    )


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


def _auth(auth: Any) -> Any:
    if auth is None:
        return None
    if isinstance(auth, Secret):
        token = str(_read(auth))
        if _BREAK.search(token):
            raise ValueError(f"{auth!r} holds a line break")
        return _Bearer(token)
    user, password = (str(_read(each)) for each in auth)
    known(base64.b64encode(f"{user}:{password}".encode()).decode())
    return requests.auth.HTTPBasicAuth(user.encode(), password.encode())


def _read(value: Any) -> Any:
    """Return a value with its secrets read."""
    if isinstance(value, Secret):
        return read(value)
    if is_mapping(value):
        return {name: _read(item) for name, item in value.items()}
    if is_several(value):
        return [_read(item) for item in value]
    return value


def _flat(name: str, value: Any) -> Any:
    """Return a value of the query.

    Raises:
        TypeError: It is none; the keys alone would be sent.
    """
    if is_mapping(value):
        raise TypeError(f"the query can't say {name}={type(value).__qualname__}")
    return value


def _opened(value: Any, stack: ExitStack) -> Any:
    """Return a file as requests takes it: with a name, open or as bytes."""
    if is_several(value):
        name, content, *rest = value
        return (str(name), _content(content, stack), *rest)
    return Path(value).name if is_path(value) else "file", _content(value, stack)


def _content(value: Any, stack: ExitStack) -> Any:
    given: Any = value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(given)
    if not is_path(given):
        kind = type(given).__qualname__
        raise TypeError(f"a file is given by its path or as bytes, not as {kind}")
    try:
        return stack.enter_context(Path(value).open("rb"))
    except OSError as error:
        raise ValueError(f"the file {value} can't be read: {error.strerror}") from None


def _excerpt(response: requests.Response) -> str:
    """Return the begin of a body, whatever it is."""
    with suppress(Exception):
        begin: bytes = response.raw.read(_EXCERPT, decode_content=True)
        return begin.decode(response.encoding or "utf-8", errors="replace")
    return ""


def _guarded(response: requests.Response, exchange: Exchange) -> Iterator[bytes]:
    """Yield chunks; while a function looks at one the clock stands still."""
    stream = _body.chunks(response, exchange, soon=True)
    while True:
        exchange.clock.go_on()
        failure: BaseException | None = None
        chunk = None
        try:
            chunk = None if exchange.ended else next(stream, None)
        except Exception as error:  # noqa: BLE001 - as above
            failure = exchange.failure(error)
        exchange.clock.stop()
        if exchange.ended:
            late = "the function has returned, and its response with it: read before"
            failure = exchange.failure(BodyProblemError(late))
        if failure is not None:
            raise failure
        if chunk is None:
            return
        yield chunk


def _harmless(response: requests.Response) -> requests.Response:
    """Take what is secret out of a response: it may go anywhere from here."""
    for each in (response, *response.history):
        each.url = scrub(each.url)
        each.request = _without_secrets(each.request)
    return response


def _without_secrets(request: requests.PreparedRequest) -> requests.PreparedRequest:
    clean = requests.PreparedRequest()
    clean.method = request.method
    clean.url = scrub(str(request.url))
    clean.headers = CaseInsensitiveDict(
        (name, HIDDEN if private(name, value) else value)
        for name, value in request.headers.items()
    )
    body = request.body
    if isinstance(body, (str, bytes)):
        text = body if isinstance(body, str) else body.decode("latin-1")
        clean.body = body if scrub(text) == text else None
    return clean
