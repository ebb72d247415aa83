"""Bytes that say whose they are: only who has the key can have made them."""

from __future__ import annotations

import hmac
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAGIC = b"entangle answer 1\n"
_DIGEST = 32


class ForgedError(Exception):
    """Bytes that were not sealed with this key, or not for this."""


def seal(key: bytes, about: list[Any], body: bytes) -> bytes:
    """Return `body` with a code in front that only the key can make.

    Args:
        key: The secret of a run.
        about: What the bytes are for, as plain values: run, job, attempt.
        body: The bytes.
    """
    return b"".join((_MAGIC, _code(key, about, body), body))


def unseal(key: bytes, about: list[Any], data: bytes) -> memoryview:
    """Return what was sealed; nothing in it was looked at before it was checked.

    Raises:
        ForgedError: It was not sealed with this key, or for something else, or is
            damaged.
    """
    start = len(_MAGIC) + _DIGEST
    if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
        raise ForgedError("it is no answer of a job")
    body = memoryview(data)[start:]
    if not hmac.compare_digest(_code(key, about, body), data[len(_MAGIC) : start]):
        raise ForgedError("it was not signed by this job, or has been changed since")
    return body


def _code(key: bytes, about: list[Any], body: Any) -> bytes:
    # The length too, so that no part of what is signed can pass for another.
    head = json.dumps([*about, len(body)]).encode()
    code = hmac.new(key, head + b"\n", "sha256")
    code.update(body)
    return code.digest()
