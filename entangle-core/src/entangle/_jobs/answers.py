"""What a job has answered, once it is known that it was this job that did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle._seam.payload import tell_value
from entangle._worker import calls, documents, failures, sealing
from entangle._worker.lines import Lines, joined
from entangle.errors import (
    JobError,
    ProcessTerminatedException,
    TaskError,
    UntrustedResultError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle._seam.call import Call
    from entangle._worker.lines import Line

    from .session import RunKey


class Answer:
    """An answer that is authentic.

    Args:
        data: What has come.
        run: Whose key it must be signed with.
        job: The job that it must be of.
        attempt: The attempt that it must be of.
    """

    def __init__(self, data: bytes, run: RunKey, job: str, attempt: int) -> None:
        """Check who has signed it, before anything else is looked at.

        Raises:
            ForgedError: Not this job; or it is damaged.
        """
        body = sealing.unseal(run.key, [run.run, job, attempt], data)
        self._facts, self._parts = documents.read(body)

    @property
    def other_version(self) -> tuple[int, int] | None:
        """The version of the job's Python, if the call was for another; else None."""
        if self._facts["kind"] != calls.OTHER:
            return None
        major, minor = self._facts["python"]
        return int(major), int(minor)

    @property
    def right_version(self) -> bool:
        """Whether it shows that the call was for the version that the job's Python is."""
        return self._facts["kind"] not in {calls.OTHER, calls.DIED}

    def output(self, first: int = 1) -> Iterator[tuple[str, str]]:
        """Yield what the job has printed, as pieces of whole lines.

        Args:
            first: The number of the first line that was not told yet.
        """
        lines = [line for line in self._lines() if line.number >= first]
        yield from joined(lines)
        left_out, count = self._facts["left_out"], self._facts.get("lines")
        if left_out and (count is None or first <= count):
            said = f"\nentangle: {left_out:,} bytes of output are left out here\n"
            yield "stderr", said

    def _lines(self) -> Iterator[Line]:
        lines, data, position = Lines(), self._parts[-1], 0
        for stream, length in self._facts["output"]:
            yield from lines.take(stream, bytes(data[position : position + length]))
            position += length
        yield from lines.rest()

    def tell(self, call: Call, place: str, resource: str) -> None:
        """Report the end of the call, exactly one.

        Args:
            call: The call.
            place: Where the job ran, for messages.
            resource: The place's name for the job, likewise.
        """
        kind = self._facts["kind"]
        parts = self._parts[:-1]
        if kind == calls.FAILED:
            failures.task_error = TaskError
            call.failed_encoded(bytes(parts[0]))
        elif kind == calls.DIED:
            call.failed(self._death(call, place, resource))
        else:
            blob = calls.blob_of(parts, self._facts["readonly"])
            if kind == calls.GRAPH:
                call.returned_graph(blob)
            else:
                tell_value(call, blob)

    def _death(self, call: Call, place: str, resource: str) -> Exception:
        facts = self._facts
        if facts["expired"]:
            reason = (
                "it was ended, since its time was over: it has reached its expiry, or "
                "the limit of its task"
            )
            return JobError(reason, node=call.name, place=place, resource=resource)
        return ProcessTerminatedException(
            node=call.name,
            pid=facts["pid"],
            signal=facts["signal"],
            exit_code=facts["code"],
            out_of_memory=facts["memory"],
            detail=f"job {resource} in {place}",
        )


def opened(
    data: bytes, run: RunKey, job: str, attempt: int, *, about: tuple[str, str, str]
) -> Answer:
    """Return an answer, or say that it is none.

    Args:
        data: What has come.
        run: As for `Answer`.
        job: Likewise.
        attempt: Likewise.
        about: The names of task, place and resource.

    Raises:
        UntrustedResultError: It was not signed by the job.
    """
    try:
        return Answer(data, run, job, attempt)
    except (sealing.ForgedError, documents.DamagedError) as error:
        node, place, resource = about
        reason = (
            f"its answer was rejected unread: {error}; look who else may write to "
            "where answers lie"
        )
        raise UntrustedResultError(
            reason, node=node, place=place, resource=resource
        ) from error
