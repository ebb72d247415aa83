"""Tokens of numpy arrays: of their type, shape, memory order, content.

An array with gaps between its elements is the same as one without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tokens import Tokens


def token_of_array(tokens: Tokens, array: Any) -> bytes:
    """Return the token of an array of exactly numpy's own type.

    Raises:
        UnkeyableError: it is of objects, one of which has no token.
    """
    dtype, flags = array.dtype, array.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    content: bytes
    if dtype.hasobject:
        content = tokens.part("", array.tolist())
    elif not array.nbytes:
        content = b""
    else:
        flat = array.T if order == "F" else array
        if not flat.flags.c_contiguous:
            flat = flat.copy(order="C")
        content = tokens.buffer(memoryview(flat.reshape(-1).view("u1")))
    return tokens.joined(b"A", dtype, array.shape, order, content)
