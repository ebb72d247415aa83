"""A call's arguments as bytes: large ones by themselves, so that jobs can share them.

Each large argument is a pickle of its own, which is known by its content, whatever
becomes of the other arguments. What calls that wait have in common is held once.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import enum
import hashlib
import operator
import threading
import weakref
from pickle import PickleBuffer
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._remote import by_source
from entangle._worker import codec, references
from entangle._worker.snapshot import is_immutable

from . import modules

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BytesIO

LARGE: Final = 256 << 10
"""Bytes from which on a part of a call lies by itself, for all jobs that need it."""

_WHAT: Final = "arguments"  # in errors
_FLAT: Final = frozenset((list, tuple, dict, set, frozenset))
_BY_NAME: Final = (type, FunctionType, BuiltinFunctionType, ModuleType)

_lock = threading.Lock()
# They live as long as a call that has not been sent yet.
_by_content: weakref.WeakValueDictionary[bytes, Large] = weakref.WeakValueDictionary()
_by_identity: weakref.WeakValueDictionary[int, _Seen] = weakref.WeakValueDictionary()


class Large:
    """One large value, pickled; equal ones are one. Thread-safe.

    Attributes:
        parts: The pickle with its buffers.
        portable: Whether it means the same in every Python.
        modules: Those that it needs, by full names.
    """

    def __init__(self, data: bytes, buffers: tuple[Any, ...], digest: str) -> None:
        self.parts = (data, *buffers)
        self.portable = by_source.portable(data)
        self.modules = frozenset(modules.of_data(data))
        self._digests = {0: digest} if digest else {}
        self._clean: set[bytes] = set()

    def digest(self, number: int) -> str:
        """Return the SHA-256 of a part, in hexadecimal, reckoned once.

        Empty for a part that may change until it is sent.
        """
        part = self.parts[number]
        if type(part) is not bytes and type(memoryview(part).obj) is not bytes:
            return ""
        found = self._digests.get(number)
        if found is None:
            found = hashlib.sha256(part).hexdigest()
            self._digests[number] = found
        return found

    def holds(self, secret: bytes) -> bool:
        """Tell whether a text is in the pickle; looked for once."""
        if secret in self._clean:
            return False
        if secret in self.parts[0]:
            return True
        self._clean.add(secret)
        return False


class Arguments(NamedTuple):
    """A call's arguments, encoded.

    Attributes:
        data: The pickle, with numbers where large ones belong.
        buffers: Its buffers.
        large: Those.
        seen: What has to be held for these to be known again.
    """

    data: Any
    buffers: tuple[Any, ...]
    large: tuple[Large, ...]
    seen: tuple[object, ...]


def encoded(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Encode a call's arguments.

    An argument that is large goes by itself, unless it shares an object with another
    argument that somebody could tell from a copy: then they stay together. The same
    object given twice stays one.

    What nobody can have changed is pickled once for all calls that wait to be sent:
    text, bytes, and containers of nothing but atoms in which every atom is still the
    same object. Anything else is pickled for each call, since it may be another by
    then; what is the same is sent once nevertheless.

    Raises:
        EncodeError: One of them can't be sent.
    """
    apart = _apart({id(each): each for each in (*args, *kwargs.values())})
    blob, mixed = _together(args, kwargs, apart)
    while mixed:
        apart = {key: each for key, each in apart.items() if key not in mixed}
        blob, mixed = _together(args, kwargs, apart)
    seen = tuple(apart.values())
    for each in seen:
        each.settle()
    return Arguments(blob.data, blob.buffers, tuple(each.large for each in seen), seen)


def _together(
    args: tuple[Any, ...], kwargs: dict[str, Any], apart: dict[int, _Seen]
) -> tuple[codec.Blob, set[int]]:
    """Encode arguments with numbers for some; return those that can't lie apart, too."""
    whole = args, kwargs
    if not apart:
        return codec.encode(whole, _WHAT), set()
    numbers = {key: number for number, key in enumerate(apart)}
    writers: list[_Pickler] = []

    def made(*given: Any) -> _Pickler:
        writers.append(_Pickler(*given))
        writers[-1].numbers = numbers
        return writers[-1]

    blob = codec.encode(whole, _WHAT, made)
    own = {id(whole), id(args), id(kwargs)}  # made for this call alone
    rest = [each for each in _distinct(writers[-1]) if id(each) not in own]
    return blob, _mixed(apart, rest)


class _Seen:
    """A large argument of a call, and the objects in it that can be told from copies.

    Args:
        value: The argument.
        large: It, pickled.
        writer: What has pickled it; None if it holds but atoms.
        atoms: Those, in order, if it could be changed.
    """

    def __init__(
        self,
        value: Any,
        large: Large,
        writer: _Writer | None,
        atoms: tuple[Any, ...] = (),
    ) -> None:
        self.value = value
        self.large = large
        self.plain = writer is None
        self._writer = writer
        self._atoms = atoms

    def settle(self) -> None:
        """Let go of what is needed only while the call is encoded."""
        self._writer = None

    def same(self, value: Any) -> bool:
        """Tell whether a value is that one, as it was."""
        if value is not self.value:
            return False
        if type(value) in codec.ATOMS:
            return True
        atoms = _atoms(value)
        return len(atoms) == len(self._atoms) and all(
            map(operator.is_, atoms, self._atoms)
        )

    def holds_any(self, objects: Iterable[Any]) -> bool:
        """Tell whether one of some objects is in it."""
        if self._writer is not None:
            return any(map(self._writer.knows, objects))
        return any(each is self.value for each in objects)

    def objects(self) -> list[Any]:
        """Return the objects in it that can be told from copies."""
        if self._writer is not None:
            return _distinct(self._writer)
        return [] if type(self.value) in codec.ATOMS else [self.value]


class _Writer(codec.Pickler):
    """Remembers what it has written."""

    def __init__(self, file: BytesIO, *given: Any) -> None:
        super().__init__(file, *given)
        self._file = file
        self._count = -1  # of what was in the argument

    def knows(self, value: Any) -> bool:
        """Tell whether an object was in the argument: then it only refers to it."""
        try:
            if self._count < 0:
                probe: list[Any] = []
                self._reference(probe)
                self._count = self._reference(probe)
            return 0 <= self._reference(value) < self._count
        except Exception:
            return True  # an object that fails the second time

    def _reference(self, value: Any) -> int:
        self._file.seek(0)
        self._file.truncate()
        self.dump(value)
        written = self._file.getvalue()[2:]  # after the number of the protocol
        if written[:1] == b"\x95":
            written = written[9:]  # what follows has its size before it
        if written[:1] == b"h" and written[2:] == b".":
            return written[1]
        if written[:1] == b"j" and written[5:] == b".":
            return int.from_bytes(written[1:5], "little")
        return -1


class _Pickler(codec.Pickler):
    """Writes numbers in the place of arguments that go by themselves."""

    numbers: dict[int, int]

    def persistent_id(self, obj: Any) -> int | None:
        return self.numbers.get(id(obj))


def _apart(values: dict[int, Any]) -> dict[int, _Seen]:
    """Return those values that are large, encoded."""
    found = {key: _seen(value) for key, value in values.items()}
    return {key: each for key, each in found.items() if each is not None}


def _seen(value: Any) -> _Seen | None:
    """Encode a value if it is large, or has been already."""
    if codec.simple(value):
        return None
    with _lock:
        known = _by_identity.get(id(value))
    if known is not None and known.same(value):
        return known
    kind = type(value)
    if (kind is str or kind is bytes) and len(value) < LARGE:
        return None
    # First: what changes from here on is seen the next time.
    flat = kind in _FLAT and _is_flat(value)
    atoms = _atoms(value) if flat else ()
    writers: list[_Writer] = []

    def made(*given: Any) -> _Writer:
        writers.append(_Writer(*given))
        return writers[-1]

    try:
        # Of bytes there is no copy.
        own = PickleBuffer(value) if kind is bytes else value
        blob = codec.encode(own, _WHAT, made)
    except codec.EncodeError:
        return None  # who encodes all of them says where it is
    # A function that goes by value may share what it reaches with the call's own.
    if writers[-1].by_value or (len(blob.data) < LARGE and kind is not bytes):
        return None
    writer = None if flat or kind in codec.ATOMS else writers[-1]
    found = _Seen(value, _large(blob), writer, atoms)
    if found.plain:
        with _lock:
            _by_identity[id(value)] = found
    return found


def _large(blob: codec.Blob) -> Large:
    """Return an encoded value, as it is known already if it is."""
    if len(blob.data) < LARGE:
        return Large(blob.data, blob.buffers, "")
    digest = hashlib.sha256(blob.data)
    if blob.buffers:
        return Large(blob.data, blob.buffers, digest.hexdigest())
    with _lock:
        known = _by_content.get(digest.digest())
    if known is None:
        known = Large(blob.data, (), digest.hexdigest())
        with _lock:
            known = _by_content.setdefault(digest.digest(), known)
    return known


def _mixed(apart: dict[int, _Seen], rest: list[Any]) -> set[int]:
    """Return those that share an object with another, or with what else there is."""
    mixed = {key for key, each in apart.items() if rest and each.holds_any(rest)}
    waiting = [*apart.items()]
    while waiting:
        key, each = waiting.pop()
        others = [other for other in waiting if not (each.plain and other[1].plain)]
        objects = each.objects() if others else []
        mixed.update(
            found
            for other, one in others
            if one.holds_any(objects)
            for found in (key, other)
        )
    return mixed


def _distinct(writer: codec.Pickler) -> list[Any]:
    """Return the objects that were pickled and can be told from copies."""
    memo: dict[int, tuple[int, Any]] = writer.memo.copy()
    known: dict[int, bool] = {}
    values = [value for _, value in memo.values()]
    return [value for value in values if not _is_the_same_anywhere(value, known)]


def _is_the_same_anywhere(value: Any, known: dict[int, bool]) -> bool:
    """Tell whether nobody can tell a value from a copy.

    Args:
        value: It.
        known: By identity, what was found out of tuples that live as long as this.
    """
    kind = type(value)
    if kind in codec.ATOMS:
        return True
    if kind is tuple or kind is frozenset:
        found = known.get(id(value))
        if found is None:
            found = all(_is_the_same_anywhere(each, known) for each in value)
            known[id(value)] = found
        return found
    if is_immutable(kind) or isinstance(value, enum.Enum):
        return True
    if isinstance(value, _BY_NAME):
        return not isinstance(value, FunctionType) or (
            references.lookup(value) is not None
        )
    return False


def _is_flat(value: Any) -> bool:
    values = codec.ATOMS.issuperset(map(type, value))
    return values and (
        type(value) is not dict or codec.ATOMS.issuperset(map(type, value.values()))
    )


def _atoms(value: Any) -> tuple[Any, ...]:
    return (*value, *value.values()) if type(value) is dict else tuple(value)
