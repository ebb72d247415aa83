"""The cached values of one run: looked for, shared, kept.

Keys are made, and files read and written, on threads of their own, never inside the
monitor; small things and big ones on different threads, so that no small one waits.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._cache import encoding, store
from entangle._cache.definitions import Definitions
from entangle._cache.tokens import Known, Tokens, UnkeyableError
from entangle._engine_items import SUCCEEDED
from entangle._graph.walk import substitute
from entangle._log import Log
from entangle._worker import codec

from .arguments import parcelled
from .calls import node_of
from .values import ENCODED, Encoded, Parts, objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entangle._cache.store import Store
    from entangle._engine_items import Item
    from entangle._graph.node import Node
    from entangle._pool.serial import Serial
    from entangle._worker.codec import Buffer

    from .run import Run

log = Log("entangle.run")

_THREADS: Final = 4
_MANY: Final = 4096
# Bytes from which a value is written on the thread for big ones, and is known to later
# keys by its entry instead of its content.
_BIG: Final = 1 << 20
_DEFINITIONS: Final = Definitions()

_said: set[tuple[str, str]] = set()
_turn = itertools.count().__next__


class Hit(NamedTuple):
    """A value that was found.

    Attributes:
        value: The value.
        nbytes: What it took to read it; memory that is only mapped is none.
    """

    value: Any
    nbytes: int = 0


class Keeper:
    """The cached calls of one run: who computes what, what is there already.

    Attributes:
        store: The entries on disk; None until a task wants them.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.store: Store | None = None
        self._lock = threading.Lock()
        # Inside the monitor: by key who computes a value, or the value.
        self._flights: dict[bytes, Item | Hit] = {}
        self._keys: dict[Item, tuple[bytes, bool]] = {}
        self._many = _MANY

    def open(self) -> Store:
        """Return the store.

        Raises:
            CacheDirectoryError: its directory must not be used.
            OptionError: the environment makes no sense.
        """
        with self._lock:
            if self.store is None:
                self.store = store.opened()
            return self.store

    def aside(self, function: Callable[..., object], *args: Any) -> None:
        """Have ``function(*args)`` run on one of the threads for small things."""
        self._serial(f"cache-{_turn() % _THREADS}").call(function, *args)

    def _serial(self, name: str) -> Serial:
        serial: Serial = self._run.pool.serial(name)
        return serial

    # -- finding -----------------------------------------------------------------

    def load(self, key: bytes, *, encoded: bool) -> Hit | None:
        """Find a value on disk.

        Args:
            key: The key of the call.
            encoded: Whether processes are to be given its bytes, not what becomes of
                the object in this process.
        """
        found = self.open().load(key, spare=encoded)
        if found is None:
            return None
        try:
            blob = codec.Blob(found.data, found.buffers)
            value = codec.decode(blob, owned=True)
        except codec.DecodeError as error:
            # Made by a program with a class that this one doesn't have, say.
            log.debug("a kept value can't be rebuilt: %s", error.reason)
            return None
        if encoded and not codec.simple(value):
            made = Encoded.of(parcelled(found.data, found.spare, value), value)
            if found.nbytes >= _BIG:
                made.token = b"E" + found.identity
            value = made
        return Hit(value, len(found.data))

    def flight(self, key: bytes, item: Item) -> Item | Hit | None:
        """Return who computes an equal call, or its value; None: ``item`` does it.

        Inside the monitor.
        """
        other = self._flights.get(key)
        if other is None or isinstance(other, Hit):
            return other
        usable = other.status < SUCCEEDED and not other.spent
        if other is item or not usable or not self._run.knows(node_of(other)):
            return None
        return other

    def claim(self, key: bytes, item: Item, *, disk: bool) -> None:
        """From now on ``item`` computes the value of a key. Inside the monitor."""
        self._flights[key] = item
        self._keys[item] = key, disk
        if len(self._keys) > self._many:
            self._tidy()

    def key_of(self, item: Item) -> bytes | None:
        """Return the key of an item that computes its value. Inside the monitor."""
        known = self._keys.get(item)
        return None if known is None else known[0]

    def _tidy(self) -> None:
        """Forget what has failed or was cancelled: a run may go on for long."""
        self._keys = {i: k for i, k in self._keys.items() if i.status < SUCCEEDED}
        self._flights = {
            key: each
            for key, each in self._flights.items()
            if isinstance(each, Hit) or each.status < SUCCEEDED
        }
        self._many = max(_MANY, 2 * len(self._keys))

    # -- keeping -----------------------------------------------------------------

    def keeps(self, item: Item) -> bool:
        """Tell whether the value of an item is to be kept. Inside the monitor."""
        return item in self._keys

    def keep(self, item: Item, value: Any) -> None:
        """Keep the final value of an item, then have it delivered. In the monitor."""
        key, disk = self._keys.pop(item)
        if not disk:
            self._flights[key] = Hit(value)
            self._run.kept(item, value)
            return
        small = type(value) is not Encoded or value.parcel.nbytes < _BIG
        if small and type(value) is not Parts:
            self.aside(self._save, item, key, value)
        else:
            self._serial("cache-big").call(self._save, item, key, value)

    def _save(self, item: Item, key: bytes, value: Any) -> None:
        try:
            self._saved(node_of(item), key, value)
        except BaseException as error:
            if self._run.pool.inline and isinstance(error, KeyboardInterrupt):
                raise  # there is one thread, and the program's user wants it back
            log.exception("a value could not be kept: please report this")
        self._run.hub.post(self._over, item, key, value)

    def _over(self, item: Item, key: bytes, value: Any) -> None:
        if self._flights.get(key) is item:
            del self._flights[key]
        self._run.kept(item, value)

    def _saved(self, node: Node[Any], key: bytes, value: Any) -> None:
        name, entries = node.name, self.open()
        data: Buffer
        buffers: Sequence[Buffer]
        try:
            if type(value) is Encoded:
                data, buffers = encoding.encode_blob(value.parcel, f"value of {name}")
            else:
                data, buffers = encoding.encode(objects(value), f"value of {name}")
        except (codec.EncodeError, codec.DecodeError) as error:
            path = error.path if isinstance(error, codec.EncodeError) else "it"
            text = f"the value of {name} can't be kept: {path}: {error.reason}"
            _warn(name, "value", text)
            return
        try:
            identity = entries.save(key, name, node.task.module, data, buffers)
        except (OSError, MemoryError) as error:
            _warn(
                entries.folder,
                type(error).__name__,
                f"values can't be kept in {entries.folder}: {error}; they are computed "
                "again the next time",
            )
            return
        if type(value) is Encoded and value.parcel.nbytes >= _BIG:
            value.token = b"E" + identity


def _warn(about: str, kind: str, text: str) -> None:
    """Warn once in this process about one thing."""
    if (about, kind) in _said:
        return
    _said.add((about, kind))
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        # Where warnings are errors: the value is there, and is delivered.
        log.warning("%s", text)


def keyed(value: Any, *, encoded: bool) -> Any:
    """Return an argument as it is to be looked at for a key.

    Args:
        value: An argument of a call, perhaps encoded, or with encoded parts.
        encoded: Whether the call gets the bytes, or the object of this process, which
            other calls in threads may have changed.
    """
    if type(value) not in ENCODED:
        return value
    if not encoded:
        return objects(value)
    if type(value) is Encoded:
        return Known(lambda: _token(value))
    return substitute(value.structure, lambda part: keyed(part, encoded=True), ENCODED)


def _token(value: Encoded) -> bytes:
    """Return the token of an encoded value; found once.

    Raises:
        UnkeyableError: it has none.
    """
    if value.token is None:
        try:
            looked_at = encoding.looked_at(value.parcel)
        except codec.DecodeError as error:
            raise UnkeyableError(error.reason) from error
        value.token = Tokens(_DEFINITIONS).of(looked_at)
    return value.token
