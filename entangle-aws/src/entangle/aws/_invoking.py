"""Invocations of Lambda functions, which may take a quarter of an hour to answer.

boto3 would keep a thread for each. So it makes the request and reads the answer, as
ever, and what is between the two is left to the exchange: its event ``before-send`` is
for that.
"""

from __future__ import annotations

import asyncio
import io
import threading
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from . import _network, _sdk
from ._exchange import Request
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._exchange import Answer, Exchange
    from ._sdk import Session

AT_ONCE: Final = 500
"""How many wait at most for one place: accounts have a thousand, or ten."""
_TRIES: Final = 4
_PAUSE: Final = 0.4  # seconds before the second try; doubled each time
_BEFORE: Final = "before-send.lambda.Invoke"

_turn = threading.local()  # of this thread: the answer to be read, if any


async def invoked(
    exchange: Exchange, session: Session, function: str, **options: Any
) -> tuple[dict[str, Any], bytes]:
    """Invoke a function, once: what was sent is not sent again, since it may run.

    Args:
        exchange: That of the account, on whose thread this runs.
        session: The account.
        function: Its name or ARN.
        options: As boto3 takes them.

    Returns:
        What AWS has answered, and what the function has.

    Raises:
        AwsError: AWS refuses; or the connection was lost.
    """
    # A signature does not wait for room: it is for minutes.
    async with exchange.room:
        answer = await _sent(exchange, session, function, options)
    return await exchange.aside(partial(_read, session, function, answer))


async def _sent(
    exchange: Exchange, session: Session, function: str, options: dict[str, Any]
) -> Answer:
    request = await exchange.aside(partial(_request, session, function, options))
    tries = 0
    while True:
        try:
            with _sdk.asking("lambda", function):
                return await exchange.send(request)
        except Exception as error:
            tries += 1
            if not _network.unsent(error) and _network.lost(error):
                raise AwsError(
                    f"the connection was lost while it may have run: {error}; to run "
                    "it again then is for retry= to say",
                    service="lambda",
                    operation="Invoke",
                    resource=function,
                ) from error
            if not _network.unsent(error) or tries == _TRIES:
                raise
        await asyncio.sleep(_PAUSE * 2 ** (tries - 1))


class _Made(Exception):  # noqa: N818 - it is no error
    """boto3 has made a request.

    Attributes:
        request: As it would have sent it.
    """

    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


class _Body(io.BytesIO):
    """What was answered, as boto3 reads it."""

    def stream(self, size: int = -1, **how: Any) -> Iterator[bytes]:
        """Yield all of it."""
        del size, how
        yield self.read()


def _before(request: Any, **more: Any) -> Any:
    """Keep boto3 from sending: there is an answer already, or it is to come."""
    del more
    answer: Answer | None = getattr(_turn, "answer", None)
    if answer is None:
        raise _Made(request)
    return import_module("botocore.awsrequest").AWSResponse(
        request.url, answer.status, answer.headers, _Body(answer.body)
    )


def _client(session: Session) -> Any:
    found = session.client("lambda", once=True)
    found.meta.events.register(_BEFORE, _before, unique_id="entangle")
    return found


def _request(session: Session, function: str, options: dict[str, Any]) -> Request:
    """Return the request, signed."""
    try:
        with _sdk.asking("lambda", function):
            _client(session).invoke(FunctionName=function, **options)
    except _Made as made:
        request = made.request
    else:
        raise RuntimeError("boto3 has sent a request by itself")
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    return Request(request.method, request.url, headers, request.body or b"")


def _read(
    session: Session, function: str, answer: Answer
) -> tuple[dict[str, Any], bytes]:
    """Return what was answered, or raise what that means."""
    _turn.answer = answer
    try:
        with _sdk.asking("lambda", function):
            told = _client(session).invoke(FunctionName=function)
            return told, told["Payload"].read()
    finally:
        _turn.answer = None
