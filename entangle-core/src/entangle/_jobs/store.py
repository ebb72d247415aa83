"""Stores: where payloads and answers lie between a client and its jobs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class StoredObject(NamedTuple):
    """An object that lies in a store.

    Attributes:
        key: Its name in the store.
        size: Its bytes.
        age: How long it has been there, in seconds.
    """

    key: str
    size: int
    age: float


class Store(ABC):
    """Objects under keys that a client and its jobs both reach.

    Keys are made of letters, digits, ``-``, ``_``, ``.`` and ``/``. Once `put` has
    returned, `get` and `list` know of the object. All methods may be called from any
    thread, block, and raise what the caller of the call should see.
    """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return an object.

        Raises:
            KeyError: There is none.
        """

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin so, in one request for each thousand."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""

    @abstractmethod
    def read_url(self, key: str, seconds: float) -> str:
        """Return an address at which a job can read an object.

        Args:
            key: The object, which need not be there yet.
            seconds: How long the address has to be good.

        Returns:
            A ``file:``, ``http:`` or ``https:`` address that needs nothing else.
        """

    @abstractmethod
    def write_url(self, key: str, seconds: float) -> str:
        """Return an address to which a job can write an object, likewise."""

    def good_until(self) -> float:
        """Return when addresses that are given from now on end, whatever was asked.

        Asked before a job gets its addresses, which is the moment to renew what signs
        them.

        Returns:
            Seconds since the epoch, or less than is true; by default they don't end.
        """
        return math.inf

    def where(self, key: str) -> str:
        """Name an object for people."""
        return key
