"""What has to be done to a call's arguments before a worker can take them."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._graph.walk import EDGE_TYPES, edges_in
from entangle._pool.jobs import Payload
from entangle._worker import codec, pieces
from entangle._worker.attach import Parcel, encode_arguments
from entangle.errors import UnpicklableError

from .values import Encoded, Parts, parcels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from entangle._graph.node import Node

_CONTAINERS = frozenset((list, tuple, dict, set))
SHARE = 1 << 14  # bytes from which a value used by several calls is sent ahead


class Sent:
    """One object among the arguments of a run's process calls, encoded once.

    Holds the object, so that its identity stays its own while the run lasts.
    """

    __slots__ = ("large", "object", "parcel")

    def __init__(self, value: Any, parcel: Parcel) -> None:
        self.object = value
        self.parcel = parcel
        # Whether it is to be put into shared memory before it is sent.
        self.large = pieces.large((parcel.data, *parcel.buffers))


# What nodes that are prepared together have been found to share, by identity. Not more:
# an object that is given once more later on may have changed in between.
Batch = dict[int, Sent]


class Encoder:
    """Encodes the arguments of one run, each object once for nodes added together.

    What is encoded ahead, while the graph is built, is bounded; the rest is encoded
    when its call is about to start. Buffers that go out of band are no copies and
    don't count.
    """

    AHEAD = 64 << 20

    def __init__(self, number: Callable[[], int] | None) -> None:
        self._number = number
        self._batches: dict[Node[Any], Batch] = {}
        self._ahead = 0
        # Large values of calls in this process that several process calls take.
        self._large: dict[int, tuple[weakref.ref[Any], Parcel]] = {}
        self._changes = 0
        self.numbers: set[int] = set()

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Encode those arguments of a process call that are plain objects.

        Raises:
            UnpicklableError: one can't be sent; it names the path to what can't.
        """
        for label, value in _labelled(node.args, node.kwargs, node.task.fn):
            if type(value) in codec.ATOMS or type(value) in EDGE_TYPES:
                continue
            if codec.simple(value):
                continue
            self._batches[node] = batch
            known = batch.get(id(value))
            if known is not None:
                size = known.parcel.nbytes
                if not known.parcel.number and size >= SHARE and not known.large:
                    self._share(known.parcel)
            elif self._ahead < self.AHEAD and not (
                type(value) in _CONTAINERS and edges_in(value)
            ):
                parcel = _encode(value, label, node.name)
                self._ahead += len(parcel.data)
                batch[id(value)] = Sent(value, parcel)

    def forget(self, node: Node[Any]) -> None:
        """Let go of what was encoded for a node."""
        self._batches.pop(node, None)

    def once(self, value: Any) -> Any:
        """Return a large array as a parcel that all calls of the run share.

        On the encoder's thread only. Anything else is returned as it is.

        Raises:
            EncodeError: it can't be sent.
        """
        size = getattr(value, "nbytes", 0)
        if type(value) is Parcel or type(size) is not int or size < pieces.LEAST:
            return value
        known = self._large.get(id(value))
        if known is not None and known[0]() is value:
            return known[1]
        try:
            reference = weakref.ref(value, partial(self._dropped, id(value)))
        except TypeError:
            return value
        changes = self._changes
        blob = codec.encode(value)
        parcel = Parcel(blob.data, blob.buffers)
        parcel.publish()
        if changes == self._changes:
            self._large[id(value)] = reference, parcel
        return parcel

    def changed(self) -> None:
        """Take note that values of this process may be others from now on.

        A call that runs in this process has them themselves, not copies: from its
        begin to its end it may write to them.
        """
        self._changes += 1
        self._large.clear()

    def _dropped(self, key: int, reference: weakref.ref[Any]) -> None:
        known = self._large.get(key)
        if known is not None and known[0] is reference:
            del self._large[key]

    def clear(self) -> None:
        """Let go of everything that was encoded: no call will need it."""
        self._batches.clear()
        self._large.clear()

    def _share(self, parcel: Parcel) -> None:
        if self._number is not None:
            parcel.number = self._number()
            self.numbers.add(parcel.number)

    def quick(
        self,
        node: Node[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> tuple[bool, tuple[Any, ...], dict[str, Any] | None, bool]:
        """Look at a call's arguments, with values in the place of nodes.

        Returns:
            Whether nothing is left to encode but parcels and plain values; the
            arguments, encoded ones as parcels; and whether there are any.
        """
        atoms = codec.ATOMS
        batch = self._batches.get(node, {})
        encoded = False
        complete = True

        def ready(value: Any) -> Any:
            nonlocal encoded, complete
            if type(value) in atoms or codec.simple(value):
                return value
            if type(value) is Encoded or type(value) is Parts:
                encoded = True
                if type(value) is Parts and not _harmless(value.structure):
                    complete = False
                return parcels(value)
            known = batch.get(id(value))
            if known is None:
                complete = False
                return value
            encoded = True
            complete = complete and not known.large  # whose copying takes its time
            return known.parcel

        args = tuple([ready(value) for value in args])
        if kwargs is not None:
            kwargs = {name: ready(value) for name, value in kwargs.items()}
        return complete, args, kwargs, encoded


def publish(values: Iterable[Any]) -> None:
    """Put what is large in encoded arguments into shared memory; takes its time.

    Raises:
        MemoryError: there is not enough.
        OSError: an array can't be kept from changing.
    """
    for value in values:
        if type(value) is Parcel:
            value.publish()


def _harmless(structure: Any) -> bool:
    """Tell whether encoding a structure of parts runs no code of the user's."""
    pending = [structure]
    # Held, not only their identities: what is walked may be made on the way.
    seen: dict[int, Any] = {}
    while pending:
        value = pending.pop()
        if type(value) in codec.ATOMS or type(value) is Encoded or id(value) in seen:
            continue
        seen[id(value)] = value
        if type(value) is Parts:
            pending.append(value.structure)
        elif type(value) in _CONTAINERS:
            pending.extend(value)
            pending.extend(getattr(value, "values", tuple)())  # of a dict
        else:
            return False
    return True


def payload(
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    function: Any,
    name: str,
    *,
    shared: bool = True,
) -> Payload:
    """Encode a call's arguments, parcels among them.

    Args:
        args: The positional ones.
        kwargs: Those by keyword.
        function: What they are for.
        name: What it is called in errors.
        shared: Whether what is large goes through memory that the receiver shares.

    Raises:
        UnpicklableError: one of them can't be sent.
    """
    try:
        return Payload(*encode_arguments(args, kwargs or {}, shared=shared))
    except codec.EncodeError as error:
        # Each by itself, to say which it is.
        for label, value in _labelled(args, kwargs, function):
            try:
                encode_arguments((value,), {}, shared=shared)
            except codec.EncodeError:
                _encode(value, label, name)
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=name
        ) from error


def _encode(value: Any, label: str, name: str) -> Parcel:
    try:
        blob = codec.encode(value, label)
    except codec.EncodeError as error:
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=name
        ) from error
    return Parcel(blob.data, blob.buffers)


def _labelled(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None, function: Any
) -> Iterator[tuple[str, Any]]:
    """Yield arguments with what to call them in an error."""
    code = getattr(function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    for index, value in enumerate(args):
        if index < len(names):
            yield f"argument {names[index]!r}", value
        else:
            yield f"argument {index + 1}", value
    if kwargs:
        for name, value in kwargs.items():
            yield f"argument {name!r}", value
