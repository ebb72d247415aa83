"""The place of cached tasks: looks for a call's value before its own place is asked."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from entangle._cache import keys
from entangle._graph.walk import EDGE_TYPES, edges, edges_in
from entangle._worker import codec

from .ahead import encoded_ahead
from .keeping import Hit, keyed
from .place import Place
from .told import told
from .values import ENCODED, Encoded, objects
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._engine_items import Item
    from entangle._graph.node import Node
    from entangle._graph.task import Task

    from .arguments import Batch
    from .calls import NodeCall
    from .keeping import Keeper
    from .run import Run

# Calls whose values are looked for before the run begins, by the thread that begins it:
# a hop to another one would take as long. The others are looked for when they are near,
# also when those were big.
_AHEAD: Final = 64
# Types of arguments that are the run's own, or can't change; and of small ones that can.
_OURS: Final = codec.ATOMS | ENCODED
_CHANGING: Final = frozenset((list, dict, set))
_AHEAD_BYTES: Final = 64 << 20


class CachedPlace(Place):
    """Finds the values of one task's calls in one run, or has them computed."""

    def __init__(
        self,
        run: Run,
        task: Task[..., Any],
        keeper: Keeper,
        make: Callable[[], Place],
    ) -> None:
        """Look at the function; how it runs is only asked when a value is missing.

        Raises:
            CacheKeyError: the function reaches what can't be part of a key.
            CacheDirectoryError: the directory of the cache must not be used.
            OptionError: an option, or the environment, makes no sense.
        """
        self._run = run
        self._task = task
        self._keeper = keeper
        self._make = make
        self._disk = task.options.cache is True
        # Whether calls get bytes, which nobody in this process can change.
        self._encoded = (
            task.options.how == "process"
            and task.options.executor is None
            and not run.pool.inline
        )
        if self._disk:
            keeper.open()
        self._shared = keys.of_task(task)
        self._place: Place | None = None
        self._making = threading.Lock()
        self._window = Window()
        self._ahead = 0
        self._found: dict[Node[Any], Hit] = {}
        # Of nodes that need no other's value.
        self._keys: dict[Node[Any], bytes] = {}
        # Of those that were looked for ahead, in vain.
        self._missed: dict[Node[Any], bytes] = {}

    def prepare(self, node: Node[Any], batch: Batch) -> None:
        """Look at the arguments that are there; where all are, look for the value.

        Raises:
            CacheKeyError: one of them can't be part of a key.
        """
        if edges(node) or self._run.pushes:
            if self._task.options.cache_key is None:
                keys.check(self._task, _plain(node))
            return
        key = keys.of_call(self._task, node.args, node.kwargs, self._shared)
        if _lasting(node):
            self._keys[node] = key
        if self._ahead < _AHEAD:
            self._ahead += 1
            if self._disk:
                found = self._keeper.load(key, encoded=self._encoded)
                if found is not None:
                    if found.nbytes > _AHEAD_BYTES // _AHEAD:
                        self._ahead += found.nbytes // (_AHEAD_BYTES // _AHEAD)
                    self._found[node] = found
                    return
            self._real().prepare(node, batch)
            if _lasting(node):
                self._missed[node] = key

    def _real(self) -> Place:
        """Return the place where calls are computed; made when the first one is."""
        with self._making:
            if self._place is None:
                self._place = self._make()
            return self._place

    def admit(self, items: list[Item]) -> list[Item]:
        """Let in as many as there is room for."""
        return self._window.admit(items, self._run, self)

    def start(self, call: NodeCall) -> None:
        """Look for a value."""
        call.cached = self
        self._window.enter()
        node = call.node
        found = self._found.pop(node, None)
        if found is not None:
            self._run.hub.post(self._run.call_cached, call, found.value)
            return
        # A further attempt is no reason to look once more.
        key = self._missed.pop(node, None) or self._keeper.key_of(call.item)
        if key is None:
            self._keeper.aside(self._look, call)
        else:
            self._decide(call, key, None)

    def cancel(self, call: NodeCall) -> None:
        """Drop a call that is looked for: nothing runs."""
        self._run.unstarted(call)

    def left(self, call: NodeCall) -> None:
        """A call is over that was not computed."""

    def gone(self) -> None:
        """Any of the calls is over: let the next one in."""
        self._window.leave(self._run, self)

    def close(self) -> None:
        """The run is over."""
        self._window.close()
        self._found.clear()
        if self._place is not None:
            self._place.close()

    def _look(self, call: NodeCall) -> None:
        """Look for a value, on a thread for that."""
        run, node = self._run, call.node
        if not run.is_open(call):
            return
        try:
            taken = self._encoded and self._take(call)
            key = self._keys.pop(node, None) or self._key(call)
            found = None
            if self._disk:
                found = self._keeper.load(key, encoded=self._encoded)
            if found is None:
                place = self._real()
                if not taken:
                    place.prepare(node, {})
        except BaseException as error:
            if run.pool.inline and isinstance(error, KeyboardInterrupt):
                raise  # there is one thread, and the program's user wants it back
            call.failed(told(error))
        else:
            run.hub.post(self._decide, call, key, found)
        if run.finished:
            # What was prepared came too late.
            run.hub.post(run.places.close)

    def _take(self, call: NodeCall) -> bool:
        """Take a call's arguments as they are now: for the key, and for the call.

        Whoever they belong to may change them at any time.

        Returns:
            Whether that was done with all that need it.
        """
        call.args = tuple([_taken(value) for value in call.args])
        values = [*call.args]
        if call.kwargs is not None:
            call.kwargs = {name: _taken(value) for name, value in call.kwargs.items()}
            values.extend(call.kwargs.values())
        return all(type(value) in _OURS for value in values)

    def _key(self, call: NodeCall) -> bytes:
        args, kwargs = call.args, call.kwargs or {}
        if self._task.options.cache_key is not None:
            args = tuple(map(objects, args))
            kwargs = {name: objects(value) for name, value in kwargs.items()}
        else:
            args = tuple([keyed(value, encoded=self._encoded) for value in args])
            kwargs = {
                name: keyed(value, encoded=self._encoded)
                for name, value in kwargs.items()
            }
        return keys.of_call(self._task, args, kwargs, self._shared)

    def _decide(self, call: NodeCall, key: bytes, found: Hit | None) -> None:
        """Deliver a value, wait for an equal call, or begin; inside the monitor."""
        run, item = self._run, call.item
        if not run.wanted(call):
            return
        other = found or self._keeper.flight(key, item)
        if isinstance(other, Hit):
            run.call_cached(call, other.value)
        elif other is not None:
            # As if it had returned the node of the equal call.
            run.call_joined(call, other)
        elif run.budget is not None and (refusal := run.budget.admit(call)):
            run.call_failed(call, refusal)
        else:
            self._keeper.claim(key, item, disk=self._disk)
            run.places.launch(call, self._real())


def _lasting(node: Node[Any]) -> bool:
    """Tell whether nobody can change a node's arguments."""
    values = node.args if node.kwargs is None else (*node.args, *node.kwargs.values())
    return codec.ATOMS.issuperset(map(type, values))


def _taken(value: Any) -> Any:
    """Return an argument that nobody else can change; itself where it can't be sent."""
    if type(value) in _OURS:
        return value
    parcel = encoded_ahead(value)
    if parcel is not None:
        return Encoded(parcel)
    return value.copy() if type(value) in _CHANGING else value


def _plain(node: Node[Any]) -> list[tuple[str, Any]]:
    """Return the arguments of a node that are no other's value."""
    return [
        (name, value)
        for name, value in keys.bound(node.task.body, node.args, node.kwargs or {})
        if type(value) not in EDGE_TYPES and not edges_in(value)
    ]
