"""Where the calls of one run go, by how and where their tasks want to run."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._graph.supplied import Supplied, asking
from entangle._pool.limits import Slot
from entangle.errors import UnpicklableError

from .notes import note_node
from .process_place import ProcessPlace
from .thread_place import AsyncPlace, ThreadPlace

if TYPE_CHECKING:
    from collections.abc import Hashable

    from entangle._graph.node import Node
    from entangle._graph.options import Options
    from entangle._graph.task import Task

    from .arguments import Batch
    from .calls import NodeCall
    from .place import Place
    from .resolved import Resolved
    from .run import Run


# How a call stands with the limit of its task.
UNLIMITED, WAITING, INSIDE = range(3)


def counts(place: Place) -> bool:
    """Tell whether a place counts for the limit of its task by itself."""
    return type(getattr(place, "inner", place)) is ProcessPlace


class Places:
    """Finds the place of each task, once for a run."""

    def __init__(self, run: Run) -> None:
        self._run: Run | None = run
        self._lock = threading.Lock()
        # Of the tasks of nodes that were prepared.
        self.of_task: dict[Task[..., Any], Place] = {}
        self._shared: dict[Hashable, Place] = {}
        self._targets: dict[str, str] | None = None
        self._resolutions: dict[Task[..., Any], Resolved] = {}
        # Options of tasks whose place was replaced.
        self.relaxed: dict[Task[..., Any], Options] = {}

    def prepare(
        self, task: Task[..., Any], nodes: list[Node[Any]], batch: Batch
    ) -> None:
        """Prepare nodes of one task that are about to be added to the run.

        Raises:
            UnpicklableError: something can't be sent to a process.
        """
        place = self.of_task.get(task)
        if place is None:
            try:
                place = self._found(task)
            except UnpicklableError as error:
                note_node(error, nodes[0])
                raise
        if place is not None:
            place.prepare_all(nodes, batch)

    def _found(self, task: Task[..., Any]) -> Place | None:
        run = self._run
        if task.options.how == "assemble" or run is None:
            return None  # it has no body, or comes too late
        # Nodes that calls return are prepared on several threads.
        with self._lock:
            place = self.of_task.get(task)
            if place is None:
                place = self.of_task[task] = self._find(run, task)
            return place

    def mean_ns(self, task: Task[..., Any], unknown: float) -> float:
        """Return how many nanoseconds a task has lately taken in a process.

        Unknown before it is prepared, and when the run is over: on any thread.
        """
        place = self.of_task.get(task)
        known = place.mean_ns if type(place) is ProcessPlace else None
        return unknown if known is None else known

    def launch(self, call: NodeCall, place: Place) -> None:
        """Start a call at a place, as soon as the limit of its task allows."""
        call.place = place
        limit = call.options.limit
        if limit is None or counts(place):
            # Processes count for themselves, over all that ask for them.
            place.start(call)
            return
        call.limit_state = WAITING
        begin = partial(self._begin, place, call)
        call.run.pool.limits.enter(call.task, limit, begin)

    def cancel(self, call: NodeCall) -> None:
        """End a call."""
        if call.limit_state == WAITING:
            call.run.unstarted(call)
        else:
            call.place.cancel(call)

    def left(self, call: NodeCall) -> None:
        """A call is over."""
        if call.slot is not None:
            call.slot.end()
        if call.limit_state != WAITING:
            call.place.left(call)
        if call.cached is not None:
            call.cached.gone()

    def close(self) -> None:
        """The run is over. What it holds is not left to the collector: it is large."""
        places = {*self.of_task.values(), *self._shared.values()}
        self.of_task = {}
        self._shared = {}
        self._run = None
        for place in places:
            place.close()

    def _begin(self, place: Place, call: NodeCall) -> bool:
        if not call.run.wanted(call):
            return False
        call.limit_state = INSIDE
        call.slot = Slot(call.run.pool.limits, call.task)
        place.start(call)
        return True

    def _find(self, run: Run, task: Task[..., Any]) -> Place:
        if run.budget is not None:
            run.budget.price(task)
        if isinstance(task.body, Supplied) and task.body.elsewhere:
            # Its source is asked here: where it goes on is found out now, too.
            self.relaxed[task] = asking(task.options)
            self._find_rest(run, task)
        if not task.options.cache:
            return self._real(run, task)
        # Imported here: most programs keep nothing.
        from .cached import CachedPlace
        from .keeping import Keeper

        if run.keeper is None:
            run.keeper = Keeper(run)
        says = task.options.executor is not None and task.options.source is None
        if says and not run.pool.inline:
            self._resolved(task)
        made = partial(self._made, run, task)
        return CachedPlace(run, task, run.keeper, made)

    def _find_rest(self, run: Run, task: Task[..., Any]) -> None:
        rest = task.rest
        if rest is None or rest in self.of_task:
            return
        if not task.options.cache:
            self.of_task[rest] = self._find(run, rest)
        elif rest.options.executor is not None and not run.pool.inline:
            self._resolved(rest)  # what is kept needs no place

    def _made(self, run: Run, task: Task[..., Any]) -> Place:
        """Make the place of a task whose values were looked for; on any thread."""
        with self._lock:
            return self._real(run, task)

    def _real(self, run: Run, task: Task[..., Any]) -> Place:
        if not isinstance(task.body, Supplied):
            return self._plain(run, task, task.options)
        # Imported here: most programs have no source.
        from .source_place import SourcePlace

        options = asking(task.options) if task.body.elsewhere else task.options
        return SourcePlace(run, task, self._plain(run, task, options))

    def _plain(self, run: Run, task: Task[..., Any], options: Options) -> Place:
        if run.pool.inline:
            from .inline import InlinePlace

            return self._common(run, "inline", InlinePlace)
        if options.executor is not None:
            place = self._elsewhere(run, task)
            if place is not None:
                return place
        if options.how == "process":
            return ProcessPlace(run, task, options)
        if options.is_async and options.how == "thread":
            return self._common(run, "async", AsyncPlace)
        return self._common(run, "thread", ThreadPlace)

    def _elsewhere(self, run: Run, task: Task[..., Any]) -> Place | None:
        """Return the place of a task that says where it runs; None for here."""
        from .executor_place import ExecutorPlace, place_at

        resolved = self._resolved(task)
        if resolved.make is None:
            return None
        key = resolved.key
        if key is None:
            return place_at(run, task, resolved.make())
        if key in self._shared:
            return self._shared[key]
        hosted = run.pool.hosted
        taken = hosted.take(key, resolved.make, resolved.label)
        done = partial(hosted.give_back, taken)
        try:
            place = place_at(run, task, taken.executor, done)
        except BaseException:
            run.hub.post(done)
            raise
        if isinstance(place, ExecutorPlace):
            # Others ship the function of one task.
            self._shared[key] = place
        return place

    def _resolved(self, task: Task[..., Any]) -> Resolved:
        """Find out where a task runs that says so, and what that can't honour."""
        from .replaced import replacements
        from .resolved import resolve, warn_relaxed

        resolved = self._resolutions.get(task)
        if resolved is None:
            if self._targets is None:
                self._targets = replacements()
            resolved = self._resolutions[task] = resolve(task, self._targets)
            if resolved.options is not task.options:
                self.relaxed[task] = resolved.options
            if resolved.relaxed:
                warn_relaxed(task.name, resolved)
        return resolved

    def _common(self, run: Run, name: str, make: Any) -> Place:
        if name not in self._shared:
            self._shared[name] = make(run)
        return self._shared[name]
