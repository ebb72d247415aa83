"""What can go wrong with a request.

All say the method, the URL without secrets, the status if there was one, which attempt it
was and how long it took. What lies below (exceptions of requests and urllib3) is told in
words and not chained, since it may show what is secret.
"""

from __future__ import annotations

from entangle.errors import SourceError

__all__ = [
    "BodyError",
    "ConnectionFailedError",
    "RedirectError",
    "RequestError",
    "RequestTimeoutError",
    "StatusError",
    "TooLargeError",
]


class RequestError(SourceError):
    """A request has failed.

    Attributes:
        reason: What went wrong.
        method: The method, as ``GET``.
        url: The URL, without what is secret.
        status: The status of the response; None if there was none.
        attempt: Which attempt of the call it was, from 1 on.
        elapsed: How many seconds the attempt took.
        retries: How many further attempts it is worth; see `SourceError`.
        pause: How many seconds to wait before the next one.
    """

    def __init__(
        self,
        reason: str,
        *,
        method: str,
        url: str,
        status: int | None = None,
        attempt: int = 1,
        elapsed: float = 0.0,
    ) -> None:
        """Build the message from the reason and what it is about."""
        answered = "" if status is None else f"status {status}, "
        super().__init__(
            f"{method} {url}: {reason} ({answered}attempt {attempt}, {elapsed:.2f} s)"
        )
        self.reason = reason
        self.method = method
        self.url = url
        self.status = status
        self.attempt = attempt
        self.elapsed = elapsed


class ConnectionFailedError(RequestError, ConnectionError):
    """There is no connection, or it broke: no such host, refused, reset, a wrong name."""


class RequestTimeoutError(RequestError, TimeoutError):
    """The request was not over within its ``timeout``, or could not connect in time."""


class StatusError(RequestError):
    """The server has answered with an error: a status of 400 or more.

    Attributes:
        body: The begin of what it sent along, as text.
    """

    body: str = ""


class RedirectError(RequestError):
    """The server has sent the request elsewhere, and it must not go there."""


class BodyError(RequestError):
    """The body of the response is not what it has to be: broken, no JSON, no such text."""


class TooLargeError(BodyError):
    """The body of the response is larger than it may be.

    Attributes:
        limit: How many bytes there may be, decompressed.
    """

    limit: int = 0
