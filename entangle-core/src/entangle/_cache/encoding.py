"""Values as bytes that another program can read, not only another process of this one.

Functions and classes go by their names, also those of ``__main__``: the next program
has its own, and its objects are to be of those.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from entangle._worker import codec, references

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entangle._worker.codec import Buffer

# What a pickle mentions if something in it goes by value, or by names of this process.
_BY_VALUE: Final = (b"entangle._worker", b"cloudpickle", b"__main__", b"__mp_main__")


class _Pickler(codec.Pickler):
    """Names what plain pickle would not."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce a definition of a program to its name."""
        if isinstance(obj, (FunctionType, type)):
            named = _named(obj)
            if named is not None:
                return named
        return super().reducer_override(obj)


def _named(definition: Any) -> tuple[Any, ...] | None:
    if references.lookup(definition) is not None:
        return None  # goes by its name already
    try:
        module, qualname = definition.__module__, definition.__qualname__
    except AttributeError:
        return None
    found = references.resolve(sys.modules.get(module), qualname)
    if found is definition:
        return definition_of, (module, qualname, False)
    if getattr(found, "fn", None) is definition:
        return definition_of, (module, qualname, True)
    return None


def definition_of(module: str, qualname: str, inside: bool) -> Any:  # noqa: FBT001 - stands in pickles
    """Return what has that name in this program (stands in pickles).

    Raises:
        LookupError: there is nothing of that name.
    """
    found = references.resolve(sys.modules.get(module), qualname)
    if inside:
        found = getattr(found, "fn", None)
    if not isinstance(found, (FunctionType, type)):
        text = f"there is no {module}.{qualname} in this program"
        raise LookupError(text)  # noqa: TRY004 - nothing was found
    return found


def encode(value: Any, name: str) -> tuple[bytes, Sequence[Buffer]]:
    """Encode an object.

    Args:
        value: The object.
        name: What to call it in an error.

    Raises:
        EncodeError: something in it doesn't pickle.
    """
    blob = codec.encode(value, name, _Pickler)
    return blob.data, blob.buffers


def encode_blob(blob: codec.Blob, name: str) -> tuple[Buffer, Sequence[Buffer]]:
    """Encode a value that is encoded already, for a process of this program.

    Raises:
        EncodeError: something in it doesn't pickle.
        DecodeError: it makes no value here.
    """
    plain, *buffers = codec.plain((blob.data, *blob.buffers))
    data = bytes(plain)
    if not any(word in data for word in _BY_VALUE):
        return data, buffers
    return encode(looked_at(blob), name)


def looked_at(blob: codec.Blob) -> Any:
    """Decode a value to be looked at and thrown away: its memory is the blob's.

    Raises:
        DecodeError: it makes no value here.
    """
    data, *buffers = codec.plain((blob.data, *blob.buffers))
    views = [memoryview(buffer).toreadonly() for buffer in buffers]
    return codec.decode(codec.Blob(data, views), owned=True)
