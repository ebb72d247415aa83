"""Stable tokens: equal for equal values, whatever the process or its hash seed.

A token is bytes. Values of the types that everything is made of are written as such;
all others are taken apart as pickle does it, since an object's own `__reduce__` says
what it is made of. Unlike pickle this looks at content alone: not at which parts are
the same object, which strings are interned, or in what order a set is iterated.

Equal lists, tuples, sets, dataclasses, arrays have equal tokens. The order of a dict
counts, since it can be seen; so does that of an array's memory, since sums depend on
it. The attributes of an object have no order.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import copyreg
import marshal
import sys
from functools import partial
from itertools import chain
from pickle import PickleBuffer
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, Final, Protocol

from entangle._worker.codec import ATOMS, describe
from entangle._worker.references import is_task

try:
    # The extension module alone: `hashlib` loads OpenSSL, which takes milliseconds.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from entangle._worker.codec import Buffer

DIGEST_SIZE: Final = 20
_ROWS: Final = ATOMS | {list, tuple}
_SHORT: Final = 64  # bytes up to which a token is not worth being digested
_BULK: Final = 1 << 20  # bytes from which a faster digest pays for its import
_MARSHAL: Final = 2  # the version that knows no references
_PROTOCOL: Final = 5
_STATE_OF_SLOTS: Final = 2


class UnkeyableError(Exception):
    """A value without a token.

    Attributes:
        path: Where in the value the trouble is.
        reason: What is wrong there.
    """

    def __init__(self, reason: str) -> None:
        """Begin at the innermost value."""
        super().__init__(reason)
        self.path = ""
        self.reason = reason

    def within(self, label: str) -> None:
        """Take note of what the value is a part of."""
        self.path = label + self.path


class Definitions(Protocol):
    """Gives the tokens of functions and classes."""

    def token_of(self, definition: Any) -> bytes:
        """Return the token of a function or a class.

        Raises:
            UnkeyableError: something that it reaches has none.
        """
        ...


def digest(*parts: bytes) -> bytes:
    """Return the digest of some bytes, which can't be cut differently."""
    hasher = blake2b(digest_size=DIGEST_SIZE)
    for part in parts:
        hasher.update(b"%d:" % len(part))
        hasher.update(part)
    value: bytes = hasher.digest()
    return value


def checksum(*parts: Buffer) -> bytes:
    """Return the digest of some bytes, one after the other."""
    hasher = blake2b(digest_size=DIGEST_SIZE)
    for part in parts:
        hasher.update(part)
    value: bytes = hasher.digest()
    return value


def bulk(data: Any) -> bytes:
    """Return the digest of a buffer."""
    if len(data) >= _BULK:
        from hashlib import sha256

        return sha256(data).digest()
    value: bytes = blake2b(data, digest_size=DIGEST_SIZE).digest()
    return value


class Known:
    """Stands for a value whose token is found in another way.

    Attributes:
        find: Returns it, or raises `UnkeyableError`.
    """

    __slots__ = ("find",)

    def __init__(self, find: Callable[[], bytes]) -> None:
        """Hold the way to find it."""
        self.find = find


class Tokens:
    """Makes tokens of values. For one thread, and as long as no value changes.

    Args:
        definitions: Gives those of functions and classes.
        most: How many bytes may be looked at, about; None for any number.
    """

    __slots__ = ("_above", "_definitions", "_known", "_lowest", "_most", "seen")

    def __init__(self, definitions: Definitions, most: int | None = None) -> None:
        """Make no tokens yet."""
        self._definitions = definitions
        self._most = most
        self.seen = 0
        # What is being looked at, by identity, with its depth.
        self._above: dict[int, int] = {}
        # The depth of the outermost value that the current one has referred back to.
        self._lowest = sys.maxsize
        # Tokens of what was looked at; the objects too, or identities would be reused.
        self._known: dict[int, tuple[Any, bytes]] = {}

    def of(self, value: Any) -> bytes:
        """Return the token of a value.

        Raises:
            UnkeyableError: it, or something in it, has none.
        """
        kind: type[Any] = type(value)
        if kind in ATOMS:
            return self._short(b"a", marshal.dumps(value, _MARSHAL))
        identity = id(value)
        known = self._known.get(identity)
        if known is not None:
            return known[1]
        depth = len(self._above)
        above = self._above.get(identity)
        if above is not None:
            self._lowest = min(self._lowest, above)
            return b"up%d" % (depth - above)
        outer, self._lowest = self._lowest, sys.maxsize
        self._above[identity] = depth
        try:
            token = self._composite(value, kind)
        except RecursionError:
            raise UnkeyableError("it is nested too deeply") from None
        finally:
            del self._above[identity]
        if self._lowest >= depth:
            # Whole in itself, so it is the same wherever it appears again.
            self._known[identity] = value, token
            self._lowest = outer
        else:
            self._lowest = min(outer, self._lowest)
        return token

    def _short(self, tag: bytes, data: bytes) -> bytes:
        self._count(len(data))
        return tag + (data if len(data) <= _SHORT else bulk(data))

    def _count(self, nbytes: int) -> None:
        self.seen += nbytes
        if self._most is not None and self.seen > self._most:
            raise UnkeyableError(f"it is more than {self._most:,} bytes")

    def buffer(self, data: Any) -> bytes:
        """Return the token of plain memory."""
        self._count(len(data))
        return b"m" + bulk(data)

    def _composite(self, value: Any, kind: type[Any]) -> bytes:  # noqa: C901, PLR0911, PLR0912 - one for each kind
        if kind is list or kind is tuple:
            tag = b"l" if kind is list else b"t"
            if _is_flat(value):
                return self._short(tag, marshal.dumps(value, _MARSHAL))
            return self._joined(tag, self._items(value))
        if kind is Known:
            known: Known = value
            found: bytes = known.find()
            return found
        if kind is dict:
            if ATOMS.issuperset(map(type, value)) and ATOMS.issuperset(
                map(type, value.values())
            ):
                return self._short(b"d", marshal.dumps(value, _MARSHAL))
            return self._joined(b"d", self._pairs(value.items()))
        if kind is MappingProxyType:
            return self._joined(b"P", self._pairs(value.items()))
        if kind is set or kind is frozenset:
            tag = b"s" if kind is set else b"f"
            return self._joined(tag, sorted(self._elements(value)))
        if kind is FunctionType or isinstance(value, type):
            return b"c" + self._definitions.token_of(value)
        if kind is MethodType:
            return self._labelled(
                b"b", __self__=value.__self__, __func__=value.__func__
            )
        if kind is ModuleType:
            module: ModuleType = value
            return b"M" + module.__name__.encode()
        if kind is BuiltinFunctionType:
            return self._builtin(value)
        if kind is bytearray:
            return b"y" + self.buffer(value)
        if kind is memoryview:
            shape = repr((value.format, value.shape)).encode()
            return self._joined(b"v", [shape, self.buffer(value.tobytes())])
        if kind is PickleBuffer:
            return self.buffer(value.raw())
        if kind.__module__.partition(".")[0] == "pathlib" and hasattr(kind, "parts"):
            # Some versions say how it was put together.
            return self._labelled(b"/", kind=kind, path=str(value))
        if kind is partial:
            return self._partial(value)
        if is_task(kind):
            # How it runs is not what it gives.
            first = getattr(value, "first", None)
            return self._labelled(b"T", fn=value.fn, first=first)
        if kind.__name__ == "ndarray" and kind.__module__ == "numpy":
            from .arrays import token_of_array

            return token_of_array(self, value)
        return self._reduced(value, kind)

    @staticmethod
    def _joined(tag: bytes, tokens: Sequence[bytes]) -> bytes:
        return tag + digest(*tokens)

    def joined(self, tag: bytes, *values: Any) -> bytes:
        """Return the token of several values that make one."""
        return self._joined(tag, [self.of(value) for value in values])

    def _labelled(self, tag: bytes, **parts: Any) -> bytes:
        """As `joined`, where an error says which part it was."""
        tokens = [self.part(f".{name}", value) for name, value in parts.items()]
        return self._joined(tag, tokens)

    def part(self, label: str, value: Any) -> bytes:
        """Return the token of a part, which is called so in an error."""
        try:
            return self.of(value)
        except UnkeyableError as error:
            error.within(label)
            raise

    def _items(self, values: Iterable[Any]) -> list[bytes]:
        tokens: list[bytes] = []
        try:
            # Not by a comprehension: how far it came says where the trouble is.
            for value in values:
                tokens.append(self.of(value))  # noqa: PERF401
        except UnkeyableError as error:
            error.within(f"[{len(tokens)}]")
            raise
        return tokens

    def _elements(self, values: Iterable[Any]) -> list[bytes]:
        # Functions and classes are numbered as they are met: not in a random order.
        ordered = sorted(values, key=_place)
        return [self.part(f", element {short(value)}", value) for value in ordered]

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> list[bytes]:
        tokens: list[bytes] = []
        for key, value in pairs:
            tokens.append(self.part(f", key {short(key)}", key))
            tokens.append(self.part(f"[{short(key)}]", value))
        return tokens

    def _partial(self, value: Any) -> bytes:
        # What it says of itself depends on whether its attributes were asked for.
        return self._labelled(
            b"q", func=value.func, args=value.args, keywords=value.keywords
        )

    def _builtin(self, value: Any) -> bytes:
        owner = value.__self__
        if owner is None or type(owner) is ModuleType:
            return b"B" + f"{value.__module__}.{value.__qualname__}".encode()
        return self._labelled(b"B", __self__=owner, name=value.__name__)

    def _reduced(self, value: Any, kind: type[Any]) -> bytes:
        """Take an object apart as pickle does."""
        try:
            reducer = copyreg.dispatch_table.get(kind)
            parts: Any = (
                reducer(value)
                if reducer is not None
                else value.__reduce_ex__(_PROTOCOL)
            )
        except UnkeyableError:
            raise
        except RecursionError:
            raise
        except Exception as error:
            raise UnkeyableError(describe(error)) from error
        if isinstance(parts, str):
            wrapped = getattr(value, "__wrapped__", None)
            if wrapped is not None:
                # What `functools.lru_cache` makes: its name says nothing.
                return self._labelled(b"w", kind=kind, wrapped=wrapped)
            return b"n" + f"{getattr(value, '__module__', '')}.{parts}".encode()
        if type(parts) is not tuple or len(parts) < 2:  # noqa: PLR2004 - as pickle says
            raise UnkeyableError(f"its __reduce__ gave {short(parts)}")
        function, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        tokens = [self.of(function)]
        tokens += self._arguments(value, arguments)
        tokens.append(self._state(state, ordered=hasattr(kind, "__setstate__")))
        tokens.append(b"" if items is None else self._joined(b"i", self._items(items)))
        tokens.append(b"" if pairs is None else self._joined(b"p", self._pairs(pairs)))
        return self._joined(b"r", tokens)

    def _arguments(self, value: Any, arguments: Any) -> list[bytes]:
        tokens: list[bytes] = []
        for part in arguments:
            try:
                tokens.append(self.of(part))
            except UnkeyableError as error:
                # Only now: asking for it may make one, which could be seen.
                own: Any = getattr(value, "__dict__", {})
                named = (f".{name}" for name in own if own[name] is part)
                error.within(next(named, ""))
                raise
        return tokens

    def _state(self, state: Any, *, ordered: bool) -> bytes:
        if state is None:
            return b""
        if ordered:
            return self.part("", state)
        if (
            type(state) is tuple
            and len(state) == _STATE_OF_SLOTS
            and all(each is None or type(each) is dict for each in state)
        ):
            return self._joined(b"o", [self._attributes(each) for each in state])
        return self._attributes(state)

    def _attributes(self, state: Any) -> bytes:
        if type(state) is not dict or not all(type(name) is str for name in state):
            return self.part("", state)
        tokens: list[bytes] = []
        named: dict[str, Any] = state
        for name in sorted(named):
            tokens += (name.encode(), self.part(f".{name}", named[name]))
        return self._joined(b"o", tokens)


def _is_flat(values: Any) -> bool:
    """Tell whether a list or tuple has only atoms in it, or rows of atoms."""
    kinds = set(map(type, values))
    if ATOMS.issuperset(kinds):
        return True
    if not _ROWS.issuperset(kinds):
        return False
    rows = (each for each in values if type(each) is list or type(each) is tuple)
    return ATOMS.issuperset(map(type, chain.from_iterable(rows)))


def _place(value: Any) -> tuple[str, str]:
    if isinstance(value, (type, FunctionType)):
        return str(value.__module__), value.__qualname__
    return "", ""


def short(value: Any) -> str:
    """Show a value in an error."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - a line's rest
