"""Memory that the tasks of a run share and find by its name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from entangle._worker import space

if TYPE_CHECKING:
    from entangle._worker.pieces import Place

    from .segments import Segments
    from .worker import WorkerProcess


class SharedByName:
    """Which run has which memory. Inside the monitor only.

    A run holds what its tasks have made, and the tasks that have it mapped hold it
    themselves; a name is good for the run that made it.
    """

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        # The run, the number of the block, the size that was asked for.
        self._names: dict[str, tuple[object, int, int]] = {}

    def answer(
        self, worker: WorkerProcess, what: int, detail: int | str
    ) -> tuple[Place, int, int, str, int] | None:
        """Make memory of some size, or find it by its name.

        Returns:
            Where it is, the size of its block, that of its segment, its name, its own
            size; None if there is none.

        Raises:
            MemoryError: there is not so much.
        """
        job = worker.outstanding[0] if worker.outstanding else None
        run = None if job is None else job.call.run_of()
        if run is None:
            return None  # its call is being ended
        if what == space.SHARE and isinstance(detail, int):
            granted = self._segments.grant(worker.number, detail)
            if granted is None:
                return None
            name = f"entangle-{os.urandom(8).hex()}"
            number = granted[0].block
            self._names[name] = (run, number, detail)
            self._segments.lend_block(run, number)
            return (*granted, name, detail)
        name = str(detail)
        owner, number, size = self._names.get(name, (None, 0, 0))
        if owner is not run:
            return None
        return (*self._segments.lend_block(worker.number, number), name, size)

    def run_over(self, run: object) -> None:
        """Forget what a run has; it ends when the last of its mappings does."""
        for name, entry in list(self._names.items()):
            if entry[0] is run:
                del self._names[name]
        self._segments.gone(run)
