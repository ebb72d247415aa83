"""Exceptions as bytes: what a failed call raised, with its causes and its traceback.

An exception is written as a list of records, one for itself and one for each that it
leads to by cause, context, group membership, arguments or attributes; links between
them are numbers, so chains and cycles of any length need no recursion. Each record
says in plain text what happened, and carries apart from that what rebuilds the
object. What cannot be rebuilt therefore spoils one record, not the message.

Rebuilding calls no code of the exception's class: `BaseException.__new__` makes the
object, then arguments, the members of its built-in base, slots and attributes are
put into their places.

A rebuilt exception has the traceback of the far side as a note (Python 3.11 and
newer) and, as text, in its attribute ``__entangle_traceback__``.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
from _pickle import Unpickler, dumps, loads
from io import BytesIO

from . import codec
from . import exception_parts as parts
from .tracebacks import completed, frames_text, unmarked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

TRACEBACK = "__entangle_traceback__"
FAILURE = "__entangle_failure__"  # what the caller keeps of the call: it stays there
MOST_EXCEPTIONS = 2_000

_LONGEST_MESSAGE = 100_000
_NOTES = "__notes__"

# How a record's object is rebuilt.
_BUILT, _WHOLE, _TEXT = range(3)


class RemoteError(Exception):
    """A failure that could not be rebuilt, where nothing better is installed.

    Attributes:
        type_name: The qualified name of the exception's type.
        message: What it said.
        traceback_text: The traceback of the far side, with that message.
    """

    def __init__(self, type_name: str, message: str, traceback_text: str) -> None:
        """Build the error from what is known of the failure."""
        super().__init__(type_name, message, traceback_text)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        """Return type and message of the original."""
        return f"{self.type_name}: {self.message}"


# What makes the error that stands for one that cannot be rebuilt. The core puts its
# own there: (type_name, message, traceback_text) -> exception.
task_error: Callable[[str, str, str], BaseException] = RemoteError


def encode_failure(error: BaseException) -> bytes:
    """Encode an exception. Never raises, whatever the exception.

    Attributes that do not pickle stay behind, and a note says so.
    """
    try:
        return _Writer(error, with_frames=True).written()
    except BaseException as trouble:  # noqa: BLE001 - a failure must arrive
        return _bare(error, trouble)


def decode_failure(data: bytes) -> BaseException:
    """Rebuild an exception. Never raises.

    Returns:
        The exception, of its own type, with cause, context and notes. What the
        `task_error` hook makes, where it cannot be rebuilt, and for exceptions that
        steer a program (`SystemExit`, `KeyboardInterrupt`, `GeneratorExit`,
        ``CancelledError``, `StopIteration`, `StopAsyncIteration`): these have the
        original as their cause.
    """
    try:
        reader = _Reader(loads(data))
        error = reader.read()
    except Exception as trouble:  # noqa: BLE001 - what came must be told of
        text = codec.describe(trouble)
        return task_error("unknown", f"a failure that cannot be read: {text}", "")
    if isinstance(error, steering()):
        made = reader.as_text(0)
        made.__cause__ = error
        return made
    return error


def texts(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's type, its message, and its traceback as it is printed."""
    made = _Record.of(loads(encode_failure(error))[0])
    made.frames = unmarked(made.frames)
    return made.type_name, made.shown(), made.trace()


def reduce_exception(error: BaseException) -> tuple[Any, ...]:
    """Reduce an exception inside a value."""
    return rebuild_exception, (_Writer(error, with_frames=False).written(),)


def rebuild_exception(data: bytes) -> BaseException:
    """Rebuild an exception inside a value (stands in pickles)."""
    return _Reader(loads(data)).read()


def steering() -> tuple[type[BaseException], ...]:
    kinds: list[type[BaseException]] = [
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        StopAsyncIteration,
    ]
    # Where these are not imported, nobody has raised them.
    for module in ("asyncio.exceptions", "concurrent.futures._base"):
        kind = getattr(sys.modules.get(module), "CancelledError", None)
        if kind is not None:
            kinds.append(kind)
    return tuple(kinds)


class _Record:
    """What is known of one exception, in plain values."""

    __slots__ = (
        "body",
        "cause",
        "context",
        "frames",
        "head",
        "how",
        "members",
        "message",
        "notes",
        "suppressed",
        "type_name",
    )

    type_name: str
    message: str | None  # None: its __str__ failed
    frames: str
    notes: list[str]
    how: int
    head: bytes  # class and message of a group; all, where how is _WHOLE
    body: bytes  # arguments, members of the built-in base, slots, attributes
    cause: int
    context: int
    suppressed: bool
    members: tuple[int, ...] | None  # of a group

    def __init__(self, error: BaseException) -> None:
        """Describe an exception in words."""
        self.type_name = _type_name(type(error))
        self.message = _message(error)
        self.frames = ""
        self.notes = []
        self.how, self.head, self.body = _TEXT, b"", b""
        self.cause = self.context = -1
        self.suppressed = False
        self.members = None

    def fields(self) -> tuple[Any, ...]:
        """Return what travels."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def shown(self) -> str:
        """Return what it said."""
        if self.message is None:
            return "<it has no text: its __str__ failed>"
        return self.message

    def trace(self) -> str:
        """Return its traceback, as it is printed."""
        text = f"{self.type_name}: {self.shown()}".removesuffix(": ") + "\n"
        if self.frames:
            text = f"Traceback (most recent call last):\n{self.frames}{text}"
        return text

    @classmethod
    def of(cls, fields: tuple[Any, ...]) -> _Record:
        """Return the record that travelled."""
        self = cls.__new__(cls)
        for name, value in zip(cls.__slots__, fields):
            setattr(self, name, value)
        return self


class _Writer:
    """Writes an exception and all that it leads to."""

    def __init__(self, error: BaseException, *, with_frames: bool) -> None:
        self._with_frames = with_frames
        self._found: list[BaseException] = []
        self._numbers: dict[int, int] = {}
        self.number(error)

    def number(self, error: BaseException | None) -> int:
        """Return the number of an exception, which will be written; -1 for none."""
        if error is None:
            return -1
        number = self._numbers.get(id(error))
        if number is None:
            if len(self._found) >= MOST_EXCEPTIONS:
                return -1
            number = self._numbers[id(error)] = len(self._found)
            self._found.append(error)
        return number

    def written(self) -> bytes:
        records: list[tuple[Any, ...]] = []
        # Grows while it is walked.
        for error in self._found:
            records.append(self._record(error).fields())  # noqa: PERF401
        return dumps(records, 5)

    def _record(self, error: BaseException) -> _Record:
        attributes = dict(parts.attributes_of(error))
        earlier = attributes.pop(TRACEBACK, "")
        earlier = earlier if type(earlier) is str else ""
        attributes.pop(FAILURE, None)
        given: Any = attributes.get(_NOTES)
        notes: list[str] = []
        if type(given) is list:
            del attributes[_NOTES]
            # One traceback gets one note, however many hops it makes.
            own = _note(earlier) if earlier else None
            notes = [text for text in map(_text, given) if text != own]
        frames = frames_text(parts.traceback_of(error)) if self._with_frames else ""
        record = _Record(error)
        record.frames = frames + earlier
        record.notes = notes
        if isinstance(error, parts.Group):
            record.members = tuple(
                map(self.number, parts.Group.exceptions.__get__(error))
            )
        record.cause = self.number(parts.cause_of(error))
        record.context = self.number(parts.context_of(error))
        record.suppressed = parts.suppressed_in(error)
        if record.members is None or -1 not in record.members:
            self._rebuildable(record, error, attributes)
        return record

    def _rebuildable(
        self, record: _Record, error: BaseException, attributes: dict[str, Any]
    ) -> None:
        """Add what rebuilds the object, as far as that can be."""
        cls = type(error)
        base = parts.builtin_base(cls)
        try:
            if base is None:
                # Of a C extension: only its own reduction knows how.
                record.head = self._pickled(error, error)
                record.how = _WHOLE
                return
            extra = parts.Group.message.__get__(error) if record.members else None
            record.head = self._pickled((cls, extra))
        except Exception:  # noqa: BLE001 - any user code; the text remains
            return
        state = (
            parts.arguments_of(error),
            dict(parts.members_of(error, base)),
            dict(parts.slots_of(error)),
            attributes,
        )
        try:
            record.body = self._pickled(state)
        except Exception:  # noqa: BLE001 - as above
            try:
                record.body = self._pickled(self._without(record, *state))
            except Exception:  # noqa: BLE001 - as above
                return
        record.how = _BUILT

    def _without(
        self,
        record: _Record,
        arguments: Any,
        members: dict[str, Any],
        *attributes: dict[str, Any],
    ) -> tuple[Any, ...]:
        """Leave behind the attributes that do not pickle, with a note on each."""
        kept: list[dict[str, Any]] = []
        for named in attributes:
            kept.append({})
            for name, value in named.items():
                try:
                    self._pickled(value)
                except Exception as trouble:  # noqa: BLE001 - as above
                    reason = codec.describe(trouble)
                    record.notes.append(
                        f"attribute {_text(name)!r} stayed behind: {reason}"
                    )
                else:
                    kept[-1][name] = value
        return (arguments, members, *kept)

    def _pickled(self, value: Any, root: BaseException | None = None) -> bytes:
        return codec.written(value, lambda file: _FailurePickler(file, self, root))[0]


class _FailurePickler(codec.Pickler):
    """Writes other exceptions of the same failure as their numbers."""

    def __init__(self, file: Any, writer: _Writer, root: BaseException | None) -> None:
        super().__init__(file)
        self._writer = writer
        self._root = root

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, BaseException) or obj is self._root:
            return None
        number = self._writer.number(obj)
        # Beyond the most that are written: as a value of its own.
        return None if number < 0 else number

    def reducer_override(self, obj: Any) -> Any:
        if obj is self._root:
            return NotImplemented
        return super().reducer_override(obj)


class _Reader:
    """Rebuilds what a `_Writer` wrote."""

    def __init__(self, records: list[tuple[Any, ...]]) -> None:
        self.records = [_Record.of(fields) for fields in records]
        for record in self.records:
            if record.frames:
                record.frames = completed(record.frames)
        self.built: list[Any] = []

    def read(self) -> BaseException:
        """Return the first exception, with all that it leads to."""
        while True:
            spoilt = self._build()
            if spoilt is None:
                break
            # Others may hold the useless object already: begin again without it.
            self.records[spoilt].how = _TEXT
        for record, error in zip(self.records, self.built):
            cause, context = self._linked(record.cause), self._linked(record.context)
            parts.link(error, cause, context, suppressed=record.suppressed)
            _annotate(error, record)
        found: BaseException = self.built[0]
        return found

    def as_text(self, number: int) -> BaseException:
        """Return the error that stands for the exception of that number."""
        record = self.records[number]
        return task_error(record.type_name, record.shown(), record.trace())

    def persistent(self, number: int) -> Any:
        """Return another exception of the failure, while one is rebuilt."""
        if self.built[number] is None:
            raise LookupError(f"exception {number} is needed before it can be made")
        return self.built[number]

    def _linked(self, number: int) -> BaseException | None:
        return None if number < 0 else self.built[number]

    def _build(self) -> int | None:
        """Build all; return the number of one that cannot be, None if all is well."""
        self.built = [None] * len(self.records)
        states: list[tuple[int, type]] = []
        for number in self._order():
            record = self.records[number]
            if record.how == _TEXT:
                self.built[number] = self.as_text(number)
                continue
            try:
                if record.how == _WHOLE:
                    whole = _Unpickler(record.head, self).load()
                    if not isinstance(whole, BaseException):
                        return number
                    self.built[number] = whole
                    continue
                cls, message = loads(record.head)
                base: Any = parts.builtin_base(cls)
                if record.members is None:
                    self.built[number] = base.__new__(cls)
                else:
                    members = [self.built[m] for m in record.members]
                    self.built[number] = base.__new__(cls, message, members)
                states.append((number, base))
            except Exception:  # noqa: BLE001 - any user code
                return number
        for number, base in states:
            try:
                state = _Unpickler(self.records[number].body, self).load()
                parts.restore(self.built[number], base, *state)
                if self.records[number].message is not None:
                    str(self.built[number])
            except Exception:  # noqa: BLE001 - as above
                return number
        return None

    def _order(self) -> Iterator[int]:
        """Yield all numbers, those first that others need in order to be made."""
        records = self.records
        done: set[int] = set()
        for rank in (_BUILT, _TEXT, _WHOLE):
            # Later ones were found in earlier ones.
            for number in reversed(range(len(records))):
                record = records[number]
                if record.how == rank and not (record.members and rank != _TEXT):
                    done.add(number)
                    yield number
        # What is left are groups, their members before them.
        waiting = [(number, False) for number in range(len(records))]
        while waiting:
            number, ready = waiting.pop()
            if number in done:
                continue
            if ready:
                done.add(number)
                yield number
            else:
                waiting.append((number, True))
                members = records[number].members or ()
                waiting.extend((member, False) for member in members)


class _Unpickler(Unpickler):
    """Puts exceptions in the places of their numbers."""

    def __init__(self, data: bytes, reader: _Reader) -> None:
        super().__init__(BytesIO(data))
        self._reader = reader

    def persistent_load(self, number: Any) -> Any:
        return self._reader.persistent(number)


def _annotate(error: BaseException, record: _Record) -> None:
    attributes = parts.attributes_of(error)
    notes = list(record.notes)
    if record.frames:
        attributes[TRACEBACK] = record.frames
        # A stand-in says it in its own text; before 3.11 nobody shows notes.
        if record.how != _TEXT and sys.version_info >= (3, 11):
            notes.append(_note(record.frames))
    others = attributes.get(_NOTES, ())
    if notes and type(others) in {list, tuple}:
        attributes[_NOTES] = [*others, *notes]


def _note(frames: str) -> str:
    return f"Traceback in the task (most recent call last):\n{frames}".rstrip("\n")


def _type_name(cls: type) -> str:
    # As `type` has them: a metaclass may do anything.
    name = _text(vars(type)["__qualname__"].__get__(cls))
    module = vars(type)["__module__"].__get__(cls)
    if type(module) is not str or module in {"builtins", "__main__"}:
        return name
    return f"{module}.{name}"


def _message(error: BaseException) -> str | None:
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except BaseException:  # noqa: BLE001 - a user-written __str__ may do anything
        return None


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - as above
        return f"<{type(value).__name__}>"


def _bare(error: BaseException, trouble: BaseException) -> bytes:
    """Encode as little as possible, when even looking at the exception failed."""
    record = _Record(error)
    record.notes = [f"the failure could not be encoded: {type(trouble).__name__}"]
    return dumps([record.fields()], 5)
