"""Calls for places whose Python is of another version: prepared ahead, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle.errors import VersionMismatchError

from . import by_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._pool.jobs import Job
    from entangle._pool.pool import Pool

    from .project import Project

    Version = tuple[int, int]


class Translation:
    """Functions as sources, for each version of Python. Inside the monitor only.

    Args:
        pool: The process's pool.
        project: Knows which modules are the caller's own.
        ready: Told of a job that may be sent now.
        refused: Told of one that can't be, with the reason.
        label: What the places are called.
    """

    def __init__(
        self,
        pool: Pool,
        project: Project,
        ready: Callable[[Job], None],
        refused: Callable[[Job, BaseException], None],
        label: str,
    ) -> None:
        self._pool = pool
        self._project = project
        self._ready = ready
        self._refused = refused
        self._label = label
        self._sources: dict[tuple[int, Version], bytes] = {}
        self._checked: set[Job] = set()

    @property
    def used(self) -> bool:
        """Whether any function was sent as its source."""
        return bool(self._sources)

    def known(self, job: Job, version: Version) -> bool:
        """Tell whether a job may be sent to such a place."""
        if (job.prepared.shipped.number, version) not in self._sources:
            return False
        return job.prepared.payload is None or job in self._checked

    def function(self, number: int, version: Version) -> bytes:
        """Return a function that is known, as bytes."""
        return self._sources[number, version]

    def prepare(self, job: Job, version: Version) -> None:
        """Find out whether a job may be sent to such a place; told of it later."""
        self._pool.encoder.call(self._translate, job, version)

    def forget(self, job: Job) -> None:
        """Let go of a job that is over."""
        self._checked.discard(job)

    def _translate(self, job: Job, version: Version) -> None:
        """Encode a call for another version; on the encoder's thread."""
        call, prepared = job.call, job.prepared
        post = self._pool.hub.post
        try:
            data = by_source.encoded(
                call.function, prepared.shipped.data, version, self._project
            )
            if prepared.payload is not None:
                by_source.check_arguments(prepared.payload)
        except by_source.UnportableError as error:
            mismatch = VersionMismatchError(
                node=call.name,
                place=self._label,
                version=".".join(map(str, version)),
                reason=str(error),
            )
            post(self._refused, job, mismatch)
        except Exception as error:
            post(self._refused, job, error)
        else:
            post(self._translated, job, version, data)

    def _translated(self, job: Job, version: Version, data: bytes) -> None:
        self._sources[job.prepared.shipped.number, version] = data
        if not job.over:
            self._checked.add(job)
            self._ready(job)
