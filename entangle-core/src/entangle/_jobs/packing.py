"""A call as the document that its job reads."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._remote import by_source
from entangle._seam.withheld import withheld
from entangle._worker import codec, documents, functions
from entangle.errors import UnpicklableError, VersionMismatchError

from . import arguments, modules
from .arguments import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from entangle._seam.call import Call

    from .arguments import Large

_HERE: Final = sys.version_info[:2]
_HOLDS: Final = "it holds a secret that must not leave this process"
_ARGUMENT: Final = (
    "an argument holds a function or a class of the program itself: put it into a "
    "module, or pass plain data"
)


class Packed(NamedTuple):
    """A call, encoded.

    Attributes:
        parts: The caller's own modules, the function, the pickled arguments, their
            buffers.
        readonly: Of the buffers, whether they were read-only.
        large: Arguments that go by themselves.
        is_async: Whether what the function returns is to be awaited.
        version: The version of Python that it is for; None for any.
        seen: What has to be held for large arguments to be known again.
    """

    parts: tuple[Any, ...]
    readonly: tuple[bool, ...]
    large: tuple[Large, ...]
    is_async: bool
    version: tuple[int, int] | None
    seen: tuple[object, ...] = ()

    @property
    def nbytes(self) -> int:
        """The size of all parts together, in bytes."""
        return sum(memoryview(part).nbytes for part, _ in self.all())

    @property
    def small(self) -> int:
        """The size of those parts together that don't lie by themselves, in bytes."""
        sizes = (memoryview(part).nbytes for part, _ in self.all())
        return sum(size for size in sizes if size < LARGE)

    def all(self) -> Iterator[tuple[Any, Callable[[], str] | None]]:
        """Yield all parts in order, with what tells the digests of some."""
        yield from ((part, None) for part in self.parts)
        for each in self.large:
            for number, part in enumerate(each.parts):
                yield part, partial(each.digest, number)


def pack(call: Call, version: tuple[int, int] | None, place: str) -> Packed:
    """Encode a call's function and arguments.

    Args:
        call: The call.
        version: That of the place's Python; None for this one's.
        place: What the place is called, for messages.

    Raises:
        UnpicklableError: One of them can't be sent; says which part.
        VersionMismatchError: One of them can't be sent to another version.
    """
    try:
        function = functions.encode_function(call.function)
        encoded = arguments.encoded(call.args, call.kwargs or {})
    except codec.EncodeError as error:
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=call.name
        ) from error
    data, *buffers = codec.plain((encoded.data, *encoded.buffers))
    large = encoded.large
    readonly = _readonly(buffers)
    portable = by_source.portable(data) and all(each.portable for each in large)
    anywhere = portable and by_source.portable(function)
    try:
        if version is not None and version != _HERE:
            translated = _translated(call, function, version, portable=portable)
            anywhere = anywhere and translated is function
            function = translated
    except by_source.UnportableError as error:
        raise VersionMismatchError(
            node=call.name,
            place=place,
            version=".".join(map(str, version or _HERE)),
            reason=str(error),
        ) from error
    names = modules.of_function(function) | modules.of_data(data)
    names.update(call.options.preload or (), *(each.modules for each in large))
    own = modules.needed(names, version)
    # Of modules there may be others for another version.
    version = None if anywhere and not own else version or _HERE
    parts = (pickle.dumps(own, 4) if own else b"", function, data, *buffers)
    return Packed(parts, readonly, large, call.options.is_async, version, encoded.seen)


def check_secrets(packed: Packed, name: str) -> None:
    """Refuse a call that carries what must stay here: see `entangle.secrets.withhold`.

    Args:
        packed: The call.
        name: The name of its task.

    Raises:
        UnpicklableError: It does: a task with its credentials, say.
    """
    for secret, instead in withheld().items():
        where = _holder(packed, secret.encode())
        if where:
            raise UnpicklableError(path=where, reason=f"{_HOLDS}: {instead}", node=name)


def _holder(packed: Packed, secret: bytes) -> str:
    """Say what holds a secret; empty if nothing does."""
    # Not the buffers: data of the user's own, and large.
    own_modules, function, data, *_ = packed.parts
    if secret in function:
        return "the function"
    if secret in bytes(data) or any(each.holds(secret) for each in packed.large):
        return "an argument"
    if secret in own_modules:
        found = pickle.loads(own_modules)
        names = (name for name, entry in found.items() if secret in entry[2])
        return f"the module {next(names, '')}"
    return ""


def _readonly(buffers: Iterable[Any]) -> tuple[bool, ...]:
    return tuple(memoryview(buffer).readonly for buffer in buffers)


def _translated(
    call: Call, function: bytes, version: tuple[int, int], *, portable: bool
) -> bytes:
    """Return the function for another version of Python.

    Raises:
        UnportableError: It can't be sent there, or an argument can't.
    """
    if not portable:
        raise by_source.UnportableError(_ARGUMENT)
    return by_source.encoded(call.function, function, version, modules.project)


def document(
    packed: Packed,
    facts: dict[str, Any],
    place: Callable[[Any, str], dict[str, str]] | None,
) -> bytes:
    """Write the document of a call.

    Args:
        packed: The call.
        facts: What else its job has to know.
        place: Puts a large part where jobs find it, by its digest if that is known;
            None to have all in one.
    """
    places: list[dict[str, str] | None] = []
    here: list[Any] = []
    for part, digest in packed.all():
        if place is not None and memoryview(part).nbytes >= LARGE:
            places.append(place(part, digest() if digest else ""))
        else:
            places.append(None)
            here.append(part)
    more = {
        "parts": places,
        "readonly": packed.readonly,
        "large": [_readonly(each.parts[1:]) for each in packed.large],
        "async": packed.is_async,
        "python": packed.version,
    }
    return documents.write({**facts, **more}, here)
