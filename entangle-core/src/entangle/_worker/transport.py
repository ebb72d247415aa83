"""Objects by address: read and written by who has nothing but the standard library."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import os
import random
import re
import sys
import time
import urllib.error
import urllib.request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_TRIES = 6
_PAUSE = 0.2  # seconds before the second try; doubled each time
_LONGEST = 15.0  # seconds between two tries
_PATIENCE = 60.0  # seconds without a byte
_MOST_SAID = 8192  # bytes of an answer that may say why
_FIELDS = ("Code", "Message")
_FILE = "file://"
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


class TransportError(Exception):
    """An object that can't be read or written; says which, without its secrets."""


def get(url: str, digest: str = "") -> bytes:
    """Return an object.

    Args:
        url: A ``file:`` or ``http(s):`` address.
        digest: Its SHA-256 in hexadecimal digits; empty for any.

    Raises:
        TransportError: It can't be had, or is another.
    """
    data: bytes = _tried(lambda: _read(url), "read", url)
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise TransportError(f"{shown(url)} is not what was put there: it was changed")
    return data


def put(url: str, data: bytes, patience: float = 0.0) -> None:
    """Write an object, whole or not at all.

    Args:
        url: A ``file:`` or ``http(s):`` address.
        data: The object.
        patience: Seconds for which a network that is not there is waited for.

    Raises:
        TransportError: It can't be written.
    """
    _tried(lambda: _write(url, data), "write", url, patience)


def shown(url: str) -> str:
    """Return an address for people: what signs it is left out."""
    return url.partition("?")[0]


def _said(error: urllib.error.HTTPError) -> str:
    """Return why a store has refused, in its own words, as S3 and its like say it.

    These two fields alone: beside them may be what the address was signed with.
    """
    try:
        text = error.read(_MOST_SAID).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    fields = (re.search(f"<{name}>([^<]{{1,200}})<", text) for name in _FIELDS)
    words = ": ".join(found.group(1) for found in fields if found)
    return f" ({words})" if words else ""


def _read(url: str) -> bytes:
    if url.startswith(_FILE):
        with open(url[len(_FILE) :], "rb") as file:
            return file.read()
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
        data: bytes = answer.read()
        return data


def _write(url: str, data: bytes) -> None:
    if url.startswith(_FILE):
        path = url[len(_FILE) :]
        beside = f"{path}.{os.getpid()}.part"
        with open(beside, "wb") as file:
            file.write(data)
        os.replace(beside, path)
        return
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=_PATIENCE):
        pass


def _tried(
    action: Callable[[], Any], verb: str, url: str, patience: float = 0.0
) -> Any:
    pause = _PAUSE
    begun = time.monotonic()
    for tries in itertools.count(1):
        try:
            return action()
        except (OSError, http.client.HTTPException) as error:
            said = ""
            lasting = tries >= _TRIES
            if isinstance(error, urllib.error.HTTPError):
                lasting = lasting or error.code not in _PASSING
                said = _said(error)
                error.close()
            elif time.monotonic() - begun < patience:
                lasting = False
            if lasting or url.startswith(_FILE):
                text = f"can't {verb} {shown(url)}: {error}{said}"
                raise TransportError(text) from error
            print(f"entangle: {verb} {shown(url)}: {error}", file=sys.stderr)
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST)
    raise AssertionError
