"""Plain data as bytes: what may come from a place that is not trusted.

None, booleans, numbers, text, bytes, and lists, tuples, dictionaries and sets of these:
of exactly those types. Decoding runs no code but this, whatever the bytes are.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Union

    Buffer = Union[bytes, bytearray, memoryview]

MOST_LEVELS = 200  # of lists in lists

_SIZE = Struct("<Q")
_FLOAT = Struct("<d")
_COMPLEX = Struct("<dd")
_CONSTANTS: dict[Any, bytes] = {None: b"N", True: b"T", False: b"F"}
_VALUES = {ord(tag): value for value, tag in _CONSTANTS.items()}
_BYTES = {bytes: b"b", bytearray: b"a", str: b"s", int: b"i"}
_SEQUENCES: dict[Any, bytes] = {list: b"l", tuple: b"t", set: b"e", frozenset: b"z"}
_MAKERS = {ord(tag): kind for kind, tag in _SEQUENCES.items()}


class NotPlainError(Exception):
    """A value that is no plain data, or bytes that are none."""


def encode(value: Any, name: str = "result") -> bytes:
    """Return a value as bytes.

    Raises:
        NotPlainError: it is no plain data; says which part.
    """
    parts: list[bytes] = []
    _write(value, parts, name, 0)
    return b"".join(parts)


def _write(value: Any, parts: list[bytes], name: str, level: int) -> None:  # noqa: C901, PLR0912 - one branch for each kind
    kind = type(value)
    if level > MOST_LEVELS:
        raise NotPlainError(
            f"{name[:100]}: it is nested too deeply, or contains itself"
        )
    if value is None or kind is bool:
        parts.append(_CONSTANTS[value])
    elif kind is float:
        parts.append(b"d" + _FLOAT.pack(value))
    elif kind is complex:
        parts.append(b"c" + _COMPLEX.pack(value.real, value.imag))
    elif kind in _BYTES:
        if kind is str:
            data = value.encode("utf-8", "surrogatepass")
        elif kind is int:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        else:
            data = bytes(value)
        parts.extend((_BYTES[kind], _SIZE.pack(len(data)), data))
    elif kind in _SEQUENCES:
        parts.append(_SEQUENCES[kind] + _SIZE.pack(len(value)))
        for index, item in enumerate(value):
            _write(item, parts, f"{name}[{index}]", level + 1)
    elif kind is dict:
        parts.append(b"m" + _SIZE.pack(len(value)))
        for key, item in value.items():
            _write(key, parts, f"a key of {name}", level + 1)
            _write(item, parts, f"{name}[{key!r:.40}]", level + 1)
    else:
        raise NotPlainError(
            f"{name} is of type {kind.__module__}.{kind.__qualname__}: from a place "
            "that is not trusted only plain data come back (None, bool, int, float, "
            "complex, str, bytes, and lists, tuples, dicts and sets of them)"
        )


def decode(data: Buffer) -> Any:
    """Return the value that `encode` has encoded.

    Raises:
        NotPlainError: that are no such bytes.
    """
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except NotPlainError:
        raise
    except (ValueError, TypeError, MemoryError, OverflowError) as error:
        raise NotPlainError(f"it makes no plain data: {error}") from None
    if reader.left:
        raise NotPlainError("there is more than a value")
    return value


class _Reader:
    """Reads one value."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data).cast("B")
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def value(self, level: int) -> Any:  # noqa: C901, PLR0911 - as `_write`
        if level > MOST_LEVELS:
            raise NotPlainError("it is nested too deeply")
        (tag,) = self._take(1)
        if tag in _VALUES:
            return _VALUES[tag]
        if tag == ord("d"):
            return _FLOAT.unpack(self._take(_FLOAT.size))[0]
        if tag == ord("c"):
            return complex(*_COMPLEX.unpack(self._take(_COMPLEX.size)))
        (size,) = _SIZE.unpack(self._take(_SIZE.size))
        if tag in _MAKERS:
            return _MAKERS[tag](self._items(size, level))
        if tag == ord("m"):
            return dict(zip(*[self._items(2 * size, level)] * 2))
        data = self._take(size)
        if tag == ord("s"):
            return str(data, "utf-8", "surrogatepass")
        if tag == ord("i"):
            return int.from_bytes(data, "little", signed=True)
        if tag == ord("a"):
            return bytearray(data)
        if tag == ord("b"):
            return bytes(data)
        raise NotPlainError(f"it begins with {tag}")

    def _items(self, count: int, level: int) -> Iterator[Any]:
        if count > self.left:
            raise NotPlainError("it is cut off")
        return (self.value(level + 1) for _ in range(count))

    def _take(self, size: int) -> memoryview:
        if size > self.left:
            raise NotPlainError("it is cut off")
        begin = self._at
        self._at += size
        return self._data[begin : self._at]
