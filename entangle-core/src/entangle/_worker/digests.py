"""What tells definitions apart: 16 bytes of BLAKE2b."""

from __future__ import annotations

try:
    # The extension module alone: `hashlib` loads OpenSSL, which takes milliseconds.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b


def digest(data: bytes) -> bytes:
    """Return the digest of some bytes."""
    value: bytes = blake2b(data, digest_size=16).digest()
    return value
