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

from typing import TYPE_CHECKING, Any

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
    from ._decorator import request

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


def __getattr__(name: str) -> Any:
    # Imported when it is used: the plugin's module is in this package, and is imported
    # wherever a run looks for plugins.
    if name != "request":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._decorator import request

    globals()[name] = request
    return request
