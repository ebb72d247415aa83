"""Calls in the places of a stream executor, without a detour through its `start`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arguments import payload
from .process_place import ProcessPlace

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.task import Task
    from entangle._pool.jobs import Payload
    from entangle._remote.crew import Crew

    from .calls import NodeCall
    from .run import Run


class StreamPlace(ProcessPlace):
    """The places of one executor, for the calls of one task in one run."""

    def __init__(
        self,
        run: Run,
        task: Task[..., Any],
        crew: Crew,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Use an executor's places.

        Args:
            run: For which run.
            task: For which task.
            crew: The places.
            done: Called, inside the monitor, when the run needs them no more.
        """
        super().__init__(run, task, crew)
        self._done = done

    def close(self) -> None:
        """Drop what waits, and let go of the executor."""
        super().close()
        if self._done is not None:
            done, self._done = self._done, None
            done()

    def _packed(self, call: NodeCall) -> Payload:
        # Memory of this machine is of no use there.
        return payload(call.args, call.kwargs, call.function, call.name, shared=False)
