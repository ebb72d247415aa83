"""Concurrency that is reserved for a function while programs want it."""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import threading
import time
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from entangle.backend import FoundJob, owner_tags

from . import _sdk
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from ._sdk import Session

log = logging.getLogger("entangle.aws")

_TAG: Final = "entangle-reserved-"
_HOLDS: Final = (
    3600.0  # seconds that what a program wants counts without being said again
)
# Then it is said again by the next call: the last one before has ended long before that.
_SAYS: Final = 1200.0
_MOST: Final = 40  # tags of this kind: a function has fifty at most
_ROUNDS: Final = 5  # of looking whether others have changed what they want meanwhile
_NOT_THERE: Final = "ResourceNotFoundException"
_PREFIX: Final = "entangle-py"  # of the names of functions that are made here


class _Wish(NamedTuple):
    """What one program wants.

    Attributes:
        calls: How many at once.
        expires: Until when that counts, in seconds since the epoch.
        owner: The program.
    """

    calls: int
    expires: int
    owner: str

    def __str__(self) -> str:
        """Write it as tags may be."""
        return f"{self.calls} {self.expires} {self.owner}"


_NONE: Final[Mapping[str, _Wish]] = MappingProxyType({})


class Reservation:
    """What one program wants to have reserved for a function. Thread-safe.

    Each says so by a tag of its own on the function. Reserved is the most that any of
    them wants; when the last has taken its tag away, nothing is. So nobody takes away
    what another program still needs.

    Args:
        session: The account.
        calls: How many calls at once; 0 for none, and then nothing is asked.
    """

    def __init__(self, session: Session, calls: int) -> None:
        self._session = session
        self._calls = calls
        self._tag = f"{_TAG}{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._function = ""
        self._said = -math.inf

    def due(self) -> bool:
        """Tell whether it is to be held, or said again."""
        return self._calls > 0 and time.monotonic() - self._said >= _SAYS

    def hold(self, function: str) -> None:
        """Have it reserved.

        Args:
            function: The function's ARN.

        Raises:
            AwsError: It can't be.
        """
        if not self._calls:
            return
        expires = time.time() + _HOLDS
        wish = _Wish(
            self._calls, int(expires), owner_tags("", expires)["entangle-owner"]
        )
        with self._lock:
            others = _wishes(self._session, function)
            mine: dict[str, _Wish] = {}
            if len(others) < _MOST or self._tag in others:
                self._function = function
                with _asking(function):
                    self._session.client("lambda").tag_resource(
                        Resource=function, Tags={self._tag: str(wish)}
                    )
                mine[self._tag] = wish
            _settle(self._session, function, held=mine)
            self._said = time.monotonic()

    def release(self) -> None:
        """Give it back, unless others want it, too; what is in the way is a warning."""
        with self._lock:
            function, self._function = self._function, ""
            self._said = -math.inf
        if not function:
            return
        try:
            _withdraw(self._session, function, self._tag)
        except Exception as error:  # noqa: BLE001 - nobody could do more about it
            log.warning(
                "what is reserved of Lambda's concurrency for %s can't be given back: "
                "%s; `entangle sweep aws` does it when this program has ended",
                function,
                error,
            )


def found(session: Session) -> Iterator[FoundJob]:
    """Yield what is reserved for functions of the account, each for one program.

    Handles are for `withdraw`.
    """
    client, now = session.client("lambda"), time.time()
    with _sdk.asking("lambda"):
        for page in client.get_paginator("list_functions").paginate():
            for each in page["Functions"]:
                if not each["FunctionName"].startswith(_PREFIX):
                    continue
                function = str(each["FunctionArn"])
                for tag, wish in _wishes(session, function).items():
                    tags = {
                        "entangle-owner": wish.owner,
                        "entangle-expires": str(wish.expires),
                    }
                    age = max(0.0, now - (wish.expires - _HOLDS))
                    yield FoundJob(f"{function} {tag}", tags, age)


def withdraw(session: Session, handle: str) -> None:
    """Give back what was reserved for a program."""
    function, _, tag = handle.partition(" ")
    _withdraw(session, function, tag)


def _withdraw(session: Session, function: str, tag: str) -> None:
    with _gone_is_over():
        _untag(session, function, [tag])
        _settle(session, function, gone=tag)


def _settle(
    session: Session,
    function: str,
    *,
    held: Mapping[str, _Wish] = _NONE,
    gone: str = "",
) -> None:
    """Have reserved what is wanted most; again where that has changed meanwhile.

    Who writes looks afterwards: of several at once the last to write has seen all.

    Args:
        session: The account.
        function: The function's ARN.
        held: What was said just now, which may not be seen yet.
        gone: The tag that was taken away just now, which may still be seen.
    """
    client = session.client("lambda")
    before: Mapping[str, _Wish] | None = None
    for _ in range(_ROUNDS):
        wishes = {**_wishes(session, function), **held}
        wishes.pop(gone, None)
        over = [tag for tag, wish in wishes.items() if wish.expires < time.time()]
        living = {tag: wish for tag, wish in wishes.items() if tag not in over}
        if living == before:
            return
        before = living
        _untag(session, function, over)
        ask: Callable[..., object] = client.delete_function_concurrency
        if living:
            most = max(wish.calls for wish in living.values())
            ask = partial(
                client.put_function_concurrency, ReservedConcurrentExecutions=most
            )
        with _asking(function):
            ask(FunctionName=function)


def _wishes(session: Session, function: str) -> dict[str, _Wish]:
    with _asking(function):
        told = session.client("lambda").list_tags(Resource=function)
    wishes: dict[str, _Wish] = {}
    for tag, value in told.get("Tags", {}).items():
        calls, expires, owner = [*str(value).split(" "), "", ""][:3]
        if str(tag).startswith(_TAG) and calls.isdigit() and expires.isdigit():
            wishes[str(tag)] = _Wish(int(calls), int(expires), owner)
    return wishes


def _untag(session: Session, function: str, tags: list[str]) -> None:
    if tags:
        with _asking(function):
            session.client("lambda").untag_resource(Resource=function, TagKeys=tags)


@contextlib.contextmanager
def _gone_is_over() -> Generator[None]:
    """Take a function that is not there for one that has nothing reserved."""
    try:
        yield
    except AwsError as error:
        if error.code != _NOT_THERE:
            raise


def _asking(function: str) -> contextlib.AbstractContextManager[None]:
    return _sdk.asking("lambda", function.rpartition(":")[2])
