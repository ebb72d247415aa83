"""HTTP requests as the source of tasks' data.

from entangle.http import request
from entangle.thread import thread

@thread
@request(url="https://api.example.com/users/{id}")
def name(user: dict) -> str:
    return user["name"]

name(id=7)()
"""

from __future__ import annotations

from typing import Final

from entangle.backend import source

from ._source import RequestSource
from .errors import (
    BodyError,
    ConnectionFailedError,
    RedirectError,
    RequestError,
    RequestTimeoutError,
    StatusError,
    TooLargeError,
)

__all__ = [
    "BodyError",
    "ConnectionFailedError",
    "RedirectError",
    "RequestError",
    "RequestTimeoutError",
    "StatusError",
    "TooLargeError",
    "request",
]


def _call(
    value: object = None, after: object = None, /, **parameters: object
) -> object:
    """Stand for what calls look like: one value, or parameters by name.

    There are two values, since a method's instance is the first one to checkers.
    """


request: Final = source(RequestSource, name="request", calls_like=_call)
