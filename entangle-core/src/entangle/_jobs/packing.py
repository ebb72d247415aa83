"""A call as the document that its job reads."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._remote import by_source
from entangle._worker import codec, documents, functions
from entangle.errors import UnpicklableError, VersionMismatchError

from . import modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from entangle._seam.call import Call

LARGE: Final = 256 << 10
"""Bytes from which on a part of a call lies by itself, for all jobs that need it."""

_HERE: Final = sys.version_info[:2]
_HOLDS: Final = (
    "it holds credentials of the place that it is to be sent to; a task that carries "
    "them is reached by it: let boto3 find them, with keys=[]"
)
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
        is_async: Whether what the function returns is to be awaited.
        version: The version of Python that it is for; None for any.
    """

    parts: tuple[Any, ...]
    readonly: tuple[bool, ...]
    is_async: bool
    version: tuple[int, int] | None

    @property
    def nbytes(self) -> int:
        """The size of all parts together, in bytes."""
        return sum(memoryview(part).nbytes for part in self.parts)


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
        args = tuple(map(_apart, call.args))
        kwargs = {name: _apart(each) for name, each in (call.kwargs or {}).items()}
        blob = codec.encode((args, kwargs), "arguments")
    except codec.EncodeError as error:
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=call.name
        ) from error
    data, *buffers = codec.plain((blob.data, *blob.buffers))
    readonly = tuple(memoryview(buffer).readonly for buffer in buffers)
    try:
        if version is not None and version != _HERE:
            function = _translated(call, function, data, version)
        own = modules.needed((function, data), version)
    except by_source.UnportableError as error:
        raise VersionMismatchError(
            node=call.name,
            place=place,
            version=".".join(map(str, version or _HERE)),
            reason=str(error),
        ) from error
    if version is None and (own or not all(map(by_source.portable, (function, data)))):
        version = _HERE
    parts = (own, function, data, *buffers)
    return Packed(parts, readonly, call.options.is_async, version)


def check_secrets(packed: Packed, secrets: Iterable[str], name: str) -> None:
    """Refuse a call that carries what must stay here.

    Args:
        packed: The call.
        secrets: The texts.
        name: The name of its task.

    Raises:
        UnpicklableError: It does: a task with its credentials, say.
    """
    # Not the buffers: data of the user's own, and large.
    named = [
        *zip(("a module", "the function", "an argument"), packed.parts, strict=False)
    ]
    for secret in secrets:
        for what, part in named:
            if secret.encode() in bytes(part):
                raise UnpicklableError(path=what, reason=_HOLDS, node=name)


def _translated(
    call: Call, function: bytes, data: Any, version: tuple[int, int]
) -> bytes:
    """Return the function for another version of Python.

    Raises:
        UnportableError: It can't be sent there, or an argument can't.
    """
    if not by_source.portable(data):
        raise by_source.UnportableError(_ARGUMENT)
    return by_source.encoded(call.function, function, version, modules.project)


def _apart(value: Any) -> Any:
    """Have large bytes travel beside the pickle, where jobs can share them."""
    if type(value) is bytes and len(value) >= LARGE:
        return pickle.PickleBuffer(value)
    return value


def document(
    packed: Packed,
    facts: dict[str, Any],
    place: Callable[[Any], dict[str, str]] | None,
) -> bytes:
    """Write the document of a call.

    Args:
        packed: The call.
        facts: What else its job has to know.
        place: Puts a large part where jobs find it; None to have all in one.
    """
    places: list[dict[str, str] | None] = []
    here: list[Any] = []
    for part in packed.parts:
        if place is not None and memoryview(part).nbytes >= LARGE:
            places.append(place(part))
        else:
            places.append(None)
            here.append(part)
    more = {
        "parts": places,
        "readonly": packed.readonly,
        "async": packed.is_async,
        "python": packed.version,
    }
    return documents.write({**facts, **more}, here)
