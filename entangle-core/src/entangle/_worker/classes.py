"""Classes by value: one definition for each, which no pickle can overwrite.

A class that the far side cannot import travels as a reference: its id and the
*definition* that holds it, a pickle of its own with all classes that it reaches. Who
made the class owns it. A process that owns the class takes the id and leaves the
definition alone; one that got the class from elsewhere looks into a definition only
if its owner sent a new one; one that meets it for the first time builds it. What a
task does to a class that was lent to it therefore stays where it was done.

One lock is held while a definition is built. A thread that meets a class under
construction waits for that lock.
"""

# What is used of cloudpickle has no public name.
# ruff: noqa: SLF001

from __future__ import annotations

from _pickle import loads
from _thread import RLock
from weakref import WeakKeyDictionary

from . import codec, digests, mains
from .byvalue import cloudpickle
from .snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HEAP_TYPE = 1 << 9  # made by a class statement, not by C code
_MOST_DEFINITIONS = 256

_lock = RLock()
# The definition from which this process built a class that it doesn't own.
_foreign: WeakKeyDictionary[type, Definition] = WeakKeyDictionary()
# id(class) -> class, what its definition depends on, its definition
_owned: dict[int, tuple[type, Snapshot | None, Definition]] = {}
# Ids of classes that are not complete yet, and what is being built: under _lock.
_unfinished: set[str] = set()
_building: list[_Building] = []


class Definition:
    """The pickled definition of a class and of the classes that it reaches."""

    __slots__ = ("by_owner", "data", "digest", "ids")

    def __init__(
        self,
        digest: bytes,
        data: bytes,
        by_owner: bool,  # noqa: FBT001 - stands in pickles
        ids: frozenset[str],
    ) -> None:
        """Hold a definition."""
        self.digest = digest
        self.data = data
        self.by_owner = by_owner
        self.ids = ids

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as it is."""
        return Definition, (self.digest, self.data, self.by_owner, self.ids)

    def build(self) -> object:
        """Build or update what is defined; return it, to keep it alive."""
        with _lock:
            building = _Building(self)
            _building.append(building)
            try:
                return loads(self.data)
            except BaseException:
                # Nobody may find half a class by its id later.
                for tracker in building.fresh:
                    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.pop(tracker, None)
                raise
            finally:
                _building.pop()
                _unfinished.difference_update(building.fresh)


class _Building:
    """One definition at work."""

    __slots__ = ("definition", "fresh")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.fresh: dict[str, type] = {}


class DefiningPickler(codec.Pickler):
    """Writes classes of this process as definitions instead of references."""

    defining = True


def reduce_class(pickler: codec.Pickler, cls: type) -> Any:
    """Reduce a class that the far side cannot import."""
    name = cloudpickle._BUILTIN_TYPE_NAMES.get(cls)
    if name is not None:
        return cloudpickle._builtin_type, (name,)
    if not cls.__flags__ & _HEAP_TYPE:
        return NotImplemented
    tracker = cloudpickle._get_or_create_tracker_id(cls)
    definition = _foreign.get(cls)
    if definition is not None:
        if definition.by_owner:
            definition = _passed_on(cls, definition)
        return arrived, (tracker, definition)
    if pickler.defining:
        return _reduced(pickler, cls, tracker)
    definition = pickler.definitions.get(tracker)
    if definition is None:
        definition = define(cls)
        pickler.definitions.update(dict.fromkeys(definition.ids, definition))
    return arrived, (tracker, definition)


def _passed_on(cls: type, definition: Definition) -> Definition:
    # A copy by somebody who doesn't own it never overwrites the owner's next one.
    copy = Definition(definition.digest, definition.data, False, definition.ids)
    _foreign[cls] = copy
    return copy


def _reduced(pickler: codec.Pickler, cls: type, tracker: str) -> tuple[Any, ...]:
    make, arguments, state, _, _, _ = cloudpickle._dynamic_class_reduce(cls)
    pickler.definitions[tracker] = cls
    enum = make is cloudpickle._make_skeleton_enum
    return (
        make_enum if enum else make_class,
        arguments,
        state,
        None,
        None,
        set_class_state,
    )


def define(cls: type) -> Definition:
    """Return the definition of a class that this process owns.

    Raises:
        EncodeError: Something in the class cannot be pickled.
    """
    entry = _owned.get(id(cls))
    if entry is not None:
        if entry[0] is not cls:
            entry = None
        elif entry[1] is not None and entry[1].valid():
            return entry[2]
    snapshot = Snapshot.of(cls)
    made: list[codec.Pickler] = []

    def writer(*args: Any) -> codec.Pickler:
        made.append(DefiningPickler(*args))
        return made[-1]

    data = codec.dump(cls, f"class {cls.__qualname__!r}", pickler=writer)
    digest = digests.digest(data)
    if entry is not None and entry[2].digest == digest:
        definition = entry[2]
    else:
        ids = frozenset(made[-1].definitions)
        definition = Definition(digest, data, True, ids)
    if len(_owned) >= _MOST_DEFINITIONS:
        _owned.clear()
    _owned[id(cls)] = (cls, snapshot, definition)
    return definition


def arrived(tracker: str, definition: Definition) -> Any:
    """Return the class of that id, building it if need be (stands in pickles)."""
    cls = _known(tracker)
    if cls is not None:
        held = _foreign.get(cls)
        if held is None or not definition.by_owner or held.digest == definition.digest:
            return cls
    built = definition.build()
    cls = _known(tracker)
    del built  # kept what it reaches alive until here
    if cls is None:
        raise LookupError(f"a definition without the class {tracker}")
    return cls


def _known(tracker: str) -> Any:
    if tracker in _unfinished:
        with _lock:  # wait for the thread that builds it
            pass
    return cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)


def make_class(*args: Any) -> Any:
    """Make a class without its attributes (stands in pickles)."""
    return _make(args[4], cloudpickle._make_skeleton_class, args)


def make_enum(*args: Any) -> Any:
    """Make an enumeration without its methods (stands in pickles)."""
    return _make(args[5], cloudpickle._make_skeleton_enum, args)


def _make(tracker: str, make: Callable[..., Any], args: Any) -> Any:
    cls = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)
    if cls is not None:
        return cls
    building = _building[-1]
    _unfinished.add(tracker)
    # Before the class exists: base classes and metaclasses may fail.
    building.fresh[tracker] = object
    cls = make(*args)
    building.fresh[tracker] = cls
    _foreign[cls] = building.definition
    return cls


def set_class_state(cls: type, state: Any) -> None:
    """Give a class its attributes, unless it is not to be changed.

    Stands in pickles.
    """
    building = _building[-1]
    fresh = any(cls is other for other in building.fresh.values())
    if fresh or (building.definition.by_owner and cls in _foreign):
        cloudpickle._class_setstate(cls, state)
        _foreign[cls] = building.definition
        mains.publish(cls)
