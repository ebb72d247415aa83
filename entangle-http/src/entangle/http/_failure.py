"""What went wrong with an exchange, told without what is secret."""

from __future__ import annotations

import email.utils
import http.client
import random
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import requests
import urllib3.exceptions as below

from entangle.secrets import scrub

from ._transport import AbroadError, NowhereError
from .errors import (
    BodyError,
    ConnectionFailedError,
    RedirectError,
    RequestError,
    RequestTimeoutError,
    StatusError,
    TooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._clock import Clock

Kind = TypeVar("Kind", bound=RequestError)

# Those that may be sent twice: the second time changes nothing.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
# What says that another time it may be different.
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_DIGITS: Final = re.compile(r"[0-9]{1,12}")
_LONGEST: Final = 30.0  # seconds of a pause that nobody has asked for
_FIRST: Final = 0.5
_EXCERPT: Final = 500


class BodyProblemError(Exception):
    """A body is not what it has to be."""


class LargeBodyError(Exception):
    """A body is larger than it may be."""


class Exchange:
    """What messages say of an exchange, and whether it is worth another one.

    Attributes:
        method: The method.
        url: The URL, as it may be shown.
        attempt: Which attempt of the call this is, from 1 on.
        clock: Its time.
        retries: How many attempts there may be after the first.
        longest: The longest pause that a server may ask for, in seconds.
        limit: How many bytes the body may have.
        status: The status that came, if any.
        ended: Whether the function has returned that looks at the body.
    """

    __slots__ = (
        "attempt",
        "clock",
        "ended",
        "limit",
        "longest",
        "method",
        "retries",
        "status",
        "url",
    )

    def __init__(
        self,
        method: str,
        url: str,
        *,
        attempt: int,
        clock: Clock,
        retries: int,
        longest: float,
        limit: float,
    ) -> None:
        """Begin."""
        self.method = method
        self.url = url
        self.attempt = attempt
        self.clock = clock
        self.retries = retries
        self.longest = longest
        self.limit = limit
        self.status: int | None = None
        self.ended = False

    def failure(self, error: BaseException) -> RequestError:
        """Return what to raise for an exception of the libraries below."""
        read = isinstance(error, (LargeBodyError, BodyProblemError))
        late = self.clock.over or isinstance(error, (TimeoutError, requests.Timeout))
        if late and not read:
            return self._timeout(error)
        chain = _chain(error)
        for kinds, kind, words, again in _TABLE:
            if any(isinstance(each, kinds) for each in chain):
                made = self._made(kind, words(error), again=again)
                if isinstance(made, TooLargeError):
                    made.limit = int(self.limit)
                return made
        if isinstance(error, ValueError) and self.status is not None:
            return self._made(BodyError, f"the body makes no sense: {_said(error)}")
        if isinstance(error, (ValueError, TypeError)) or _is_local(error):
            return self._made(RequestError, f"it can't be sent: {_said(error)}")
        reason = f"the connection broke: {_said(error)}"
        again = self.method in IDEMPOTENT
        return self._made(ConnectionFailedError, reason, again=again)

    def refused(
        self, status: int, phrase: str, headers: Mapping[str, str], body: str
    ) -> StatusError:
        """Return what to raise for a status that is an error."""
        self.status = status
        excerpt = printable(" ".join(scrub(body).split()))[:_EXCERPT]
        said = f": {excerpt}" if excerpt else ""
        again = status in _PASSING and self.method in IDEMPOTENT
        made = self._made(StatusError, f"{status} {phrase}{said}", again=again)
        made.body = excerpt
        if again:
            asked_for = retry_after(headers.get("Retry-After", ""), time.time())
            if asked_for is not None:
                # A little later than asked: not all of a run at the same moment.
                more = random.uniform(0.0, 0.1 * asked_for + 0.1)  # noqa: S311
                made.pause = min(asked_for + more, self.longest)
        return made

    def _timeout(self, error: BaseException) -> RequestError:
        if self.clock.over:
            reason = f"it was not over after its timeout of {self.clock.seconds:g} s"
            again = self.method in IDEMPOTENT
        elif _is_any(error, (requests.ConnectTimeout, below.ConnectTimeoutError)):
            reason, again = "no connection was to be had in time", True
        else:
            reason, again = "nothing came in time", self.method in IDEMPOTENT
        return self._made(RequestTimeoutError, reason, again=again)

    def _made(self, kind: type[Kind], reason: str, *, again: bool = False) -> Kind:
        made = kind(
            printable(scrub(reason)),
            method=self.method,
            url=self.url,
            status=self.status,
            attempt=self.attempt,
            elapsed=self.clock.elapsed,
        )
        if again:
            made.retries = self.retries
            most = min(_LONGEST, _FIRST * 2.0 ** min(self.attempt, 10))
            made.pause = random.uniform(0.0, most)  # noqa: S311 - no secret
        return made


def retry_after(text: str, now: float) -> float | None:
    """Return how many seconds a server asks to wait; None if that makes no sense.

    Args:
        text: The value of ``Retry-After``: seconds, or a date.
        now: The time, in seconds since the epoch.
    """
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _is_local(error: BaseException) -> bool:
    """Tell whether it is about something of this machine: a file of authorities, say."""
    wrapped = (requests.RequestException, below.HTTPError, ConnectionError)
    return isinstance(error, OSError) and not isinstance(error, wrapped)


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: a server may have written it."""
    return "".join(
        [each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text]
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception with all that it was made of, the innermost one last."""
    chain: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in chain:
            chain.append(each)
            waiting += [*each.args, getattr(each, "reason", None)]
            waiting.append(each.__cause__)
            if not each.__suppress_context__:
                waiting.append(each.__context__)
    return chain


def _is_any(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    return any(isinstance(each, kinds) for each in _chain(error))


def _said(error: BaseException) -> str:
    """Return the words of the innermost exception that has any."""
    for each in reversed(_chain(error)):
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        if isinstance(each, below.IncompleteRead):
            return f"the body ended early, after {each.partial} bytes"
        if isinstance(each, http.client.HTTPException) and not str(each):
            return type(each).__name__
    text = str(_chain(error)[-1]) or type(error).__name__
    return re.sub(r"<urllib3[^>]*>:? ?", "", text)[:_EXCERPT]


def _certificate(error: BaseException) -> str:
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"the server's certificate is not accepted: {each.verify_message}"
    return f"there is no secure connection: {_said(error)}"


def _too_many(error: BaseException) -> str:
    return f"too many redirects: {error}"


def _abroad(_: BaseException) -> str:
    return (
        "the server sends the request to another host, and its body holds a secret: "
        "that is not sent there"
    )


def _nowhere(_: BaseException) -> str:
    return "the server sends the request to what is no URL"


def _senseless(error: BaseException) -> str:
    return f"the server's answer makes no sense: {_said(error)}"


def _schema(_: BaseException) -> str:
    return "only http:// and https:// can be requested"


def _unpacked(error: BaseException) -> str:
    return f"the body can't be decompressed: {_said(error)}"


def _unconnected(error: BaseException) -> str:
    return f"there is no connection: {_said(error)}"


# What any of an exception's chain is, what that is here, in which words, and whether
# any method may try again, since nothing was sent. The first that fits counts.
_TABLE: Final[list[tuple[Any, type[RequestError], Callable[..., str], bool]]] = [
    (LargeBodyError, TooLargeError, str, False),
    (BodyProblemError, BodyError, str, False),
    (requests.TooManyRedirects, RedirectError, _too_many, False),
    (AbroadError, RedirectError, _abroad, False),
    (NowhereError, RedirectError, _nowhere, False),
    (below.InvalidHeader, ConnectionFailedError, _senseless, False),
    (below.DecodeError, BodyError, _unpacked, False),
    (ssl.SSLError, ConnectionFailedError, _certificate, False),
    (requests.exceptions.InvalidSchema, RedirectError, _schema, False),
    (below.NewConnectionError, ConnectionFailedError, _unconnected, True),
]
