"""Values as bytes: pickle, with definitions by value where no import finds them."""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from _pickle import PickleBuffer, Unpickler, dumps, loads
from _pickle import Pickler as _Pickler
from io import BytesIO
from types import FunctionType

from . import references
from .pieces import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Union

    Buffer = Union[bytes, bytearray, memoryview]

# Exact types of values that are immutable, cheap to copy and need no reducer.
ATOMS = frozenset((type(None), bool, int, float, complex, str, bytes))

# Below it, a buffer costs less in the stream than on its own.
OUT_OF_BAND = 4096
# By-value globals of functions and classes may be as big as this.
LARGEST_GLOBALS = 1_000_000

_INLINE_LENGTH = 65_536
_INLINE_ITEMS = 16
_PROTOCOL = 5


class EncodeError(Exception):
    """A value that cannot be sent.

    Attributes:
        path: Where in the value the trouble is: ``argument 'conf'.handlers[0].lock``.
        reason: What is wrong there.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Build the error from the path and the reason."""
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        """Return path and reason."""
        return f"{self.path}: {self.reason}"


class DecodeError(Exception):
    """Bytes that make no value in this process.

    Attributes:
        reason: What is wrong.
    """

    def __init__(self, reason: str) -> None:
        """Build the error from the reason."""
        super().__init__(reason)
        self.reason = reason


class Blob:
    """An encoded value: a pickle with its out-of-band buffers.

    The buffers are the value's own memory, not copies: they are good for as long as
    the value is neither changed nor resized. Or they are pieces of shared memory,
    which never change; the pickle may be one, too.

    Attributes:
        data: The pickle.
        buffers: Its buffers in order, flat, with the producer's read-only flags.
    """

    __slots__ = ("buffers", "data")

    def __init__(self, data: Any, buffers: Sequence[Any] = ()) -> None:
        """Hold a pickle and its buffers."""
        self.data = data
        self.buffers = tuple(buffers)

    @property
    def nbytes(self) -> int:
        """The size of pickle and buffers together, in bytes."""
        return len(self.data) + sum(
            b.nbytes if type(b) is Piece else memoryview(b).nbytes for b in self.buffers
        )


class Pickler(_Pickler):
    """A pickler that sends by value what the far side cannot import.

    Functions and classes that can be imported go by name, functions behind a task
    as "that task's function", all others by value. cloudpickle is imported at the
    first object that needs it. One pickler serves one thread.
    """

    # True in the subclass that writes the definition of a class.
    defining = False

    def __init__(
        self,
        file: Any,
        protocol: int = _PROTOCOL,
        buffer_callback: Callable[[PickleBuffer], Any] | None = None,
    ) -> None:
        """Write to `file`, like the pickler of the standard library."""
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        # Functions that share their globals here share them there: cloudpickle's.
        self.globals_ref: dict[int, dict[str, Any]] = {}
        # Functions that went by value, and classes by the definition that holds them.
        self.by_value: list[FunctionType] = []
        self.definitions: dict[str, Any] = {}

    def reducer_override(self, obj: Any) -> Any:  # noqa: PLR0911 - one for each kind
        """Reduce what plain pickle would refuse, or name where it cannot be found."""
        kind: type[Any] = type(obj)
        if kind is FunctionType:
            found = references.lookup(obj)
            if found is None:
                return by_value().reduce_function(self, obj)
            if found[2]:
                return references.task_function, found[:2]
            return NotImplemented
        if issubclass(kind, type):
            if references.lookup(obj) is not None:
                return NotImplemented
            by_value()
            from . import classes

            return classes.reduce_class(self, obj)
        if issubclass(kind, BaseException):
            from . import failures

            return failures.reduce_exception(obj)
        if hasattr(kind, "reduced_by_value") and not references.importable(obj.module):
            # A task goes as its function does; its own way is by a name known here.
            return obj.reduced_by_value()
        if kind.__module__ == "typing" and not _reducers:
            # Type variables: pickle would send them as a name in __main__.
            by_value()
        if kind.__module__ == "torch" and kind.__name__ == "Tensor":
            from .tensors import reduce_tensor

            return reduce_tensor(obj)
        reducer = _reducers.get(kind)
        return NotImplemented if reducer is None else reducer(obj)


# What cloudpickle knows about types that pickle refuses; empty until it is imported.
_reducers: dict[type, Callable[[Any], Any]] = {}
_by_value: list[Any] = []


# Why nothing may go by value from this process: the other side has another bytecode.
differs: list[str] = []


def by_value() -> Any:
    """Return the module `byvalue`, which imports cloudpickle."""
    if differs:
        from pickle import PicklingError

        raise PicklingError(differs[0])
    if not _by_value:
        from . import byvalue

        _reducers.update(byvalue.REDUCERS)
        _by_value.append(byvalue)
    return _by_value[0]


def simple(value: object) -> bool:
    """Say whether plain `pickle` can carry `value` in a message, at once.

    True for an atom (text and bytes up to 64 KiB) and for a list, tuple, dict, set
    or frozenset, of exactly that type, of at most 16 atoms.
    """
    kind = type(value)
    if kind in ATOMS:
        if kind is str or kind is bytes:
            return len(value) <= _INLINE_LENGTH  # type: ignore[arg-type]
        return True
    if kind is tuple or kind is list or kind is set or kind is frozenset:
        return len(value) <= _INLINE_ITEMS and ATOMS.issuperset(map(type, value))  # type: ignore[arg-type, call-overload]
    if kind is dict:
        return (
            len(value) <= _INLINE_ITEMS  # type: ignore[arg-type]
            and ATOMS.issuperset(map(type, value))  # type: ignore[call-overload]
            and ATOMS.issuperset(map(type, value.values()))  # type: ignore[attr-defined]
        )
    return False


def encode(
    value: Any, name: str = "value", pickler: Callable[..., Pickler] | None = None
) -> Blob:
    """Encode any value; `name` says in errors what it is, `pickler` how it is pickled.

    Buffers of 4 KiB or more that pickle out of band stay where they are, see `Blob`.
    Thread-safe, as far as the value is not changed meanwhile.

    Raises:
        EncodeError: Something in the value cannot be pickled, or a function in it
            reaches more than 1 MB of globals by value.
    """
    if pickler is None and simple(value):
        return Blob(dumps(value, _PROTOCOL))
    buffers: list[memoryview] = []

    def keep(buffer: PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND:
            return True
        buffers.append(raw)
        return False

    data = dump(value, name, keep, buffers, pickler or Pickler)
    return Blob(data, buffers)


def dump(
    value: Any,
    name: str,
    keep: Callable[[PickleBuffer], bool] | None = None,
    buffers: list[memoryview] | None = None,
    pickler: Callable[..., Pickler] = Pickler,
) -> bytes:
    """Pickle `value` with buffers handed to `keep`, explaining what goes wrong.

    Raises:
        EncodeError: As `encode`.
    """
    try:
        data, writer = written(
            value, lambda file: pickler(file, _PROTOCOL, keep), buffers
        )
    except Exception as error:
        from .explain import explain

        path, reason = explain(value, name, error)
        raise EncodeError(path, reason) from error
    if writer.by_value:
        size = len(data) + sum(b.nbytes for b in buffers or ())
        if size > LARGEST_GLOBALS:
            from .explain import check_globals

            check_globals(writer.by_value, name)
    return data


def written(
    value: Any,
    pickler: Callable[[BytesIO], Pickler],
    buffers: list[memoryview] | None = None,
) -> tuple[bytes, Pickler]:
    """Pickle `value`, with the help of cloudpickle if it fails without."""
    helped = bool(_reducers)
    file = BytesIO()
    writer = pickler(file)
    try:
        writer.dump(value)
    except Exception:
        if helped or differs:
            raise
        by_value()
        if buffers is not None:
            buffers.clear()
        file = BytesIO()
        writer = pickler(file)
        writer.dump(value)
    return file.getvalue(), writer


def decode(
    blob: Blob,
    owned: bool = False,  # noqa: FBT001, FBT002 - hot, few callers
    known: Sequence[Any] = (),
) -> Any:
    """Rebuild the value of `blob`, which can be decoded again.

    Args:
        blob: What `encode` returned, or the same bytes from elsewhere.
        owned: The buffers belong to this call alone: they become the memory of the
            value. Else they are copied, so that no two values share memory.
        known: What its persistent identifiers, which are numbers, stand for.

    Raises:
        DecodeError: Something in it cannot be rebuilt here.
    """
    try:
        parts = blob.buffers
        if parts and not owned:
            parts = tuple([_copy(part) for part in parts])
        # Pieces are mapped anew for each value: nothing is shared with another one.
        data, *buffers = plain((blob.data, *parts))
        if known:
            return _Joining(BytesIO(data), buffers, known).load()
        return loads(data, buffers=buffers) if buffers else loads(data)
    except (Exception, SystemExit) as error:  # whatever rebuilding an object raises
        raise DecodeError(describe(error)) from error


class _Joining(Unpickler):
    """Puts what is there already in its places."""

    def __init__(self, file: Any, buffers: Sequence[Any], known: Sequence[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._known = known

    def persistent_load(self, pid: Any) -> Any:
        """Return what a number stands for."""
        return self._known[pid]


def plain(buffers: Sequence[Any]) -> Sequence[Any]:
    """Return buffers to be read here, mapped where they are pieces."""
    if Piece not in map(type, buffers):
        return buffers
    from . import memory

    return memory.as_buffers(buffers)


def _copy(buffer: Any) -> Any:
    if type(buffer) is bytes or type(buffer) is Piece:
        return buffer
    view = memoryview(buffer)
    if not view.readonly:
        return bytearray(view)
    # Nobody can write to bytes: no need to copy them.
    return view if type(view.obj) is bytes else bytes(view)


def describe(error: BaseException) -> str:
    """Return what an error says, with its type where the message needs it."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user-written __str__
        text = ""
    kind = type(error).__name__
    if not text:
        return kind
    # These two are what picklers raise; their messages speak for themselves.
    return text if kind in {"TypeError", "PicklingError"} else f"{kind}: {text}"
