"""What a job has answered, once it is known that it was this job that did."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

from entangle._seam.payload import tell_value
from entangle._worker import calls, documents, failures, sealing
from entangle.errors import (
    JobError,
    ProcessTerminatedException,
    TaskError,
    UntrustedResultError,
)

if TYPE_CHECKING:
    from entangle._seam.call import Call

    from .session import RunKey

_STREAMS = {1: "stdout", 2: "stderr"}


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

    def output(self) -> list[tuple[str, str]]:
        """Return what the job has printed, as pieces of whole lines."""
        return _lines(self._facts, self._parts[-1])

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


def _lines(facts: dict[str, Any], data: memoryview) -> list[tuple[str, str]]:
    decoders = {
        number: codecs.getincrementaldecoder("utf-8")("replace") for number in _STREAMS
    }
    begun = dict.fromkeys(_STREAMS, "")
    told: list[tuple[str, str]] = []
    position = 0
    for number, length in facts["output"]:
        piece = bytes(data[position : position + length])
        position += length
        text = begun[number] + decoders[number].decode(piece)
        lines, newline, begun[number] = text.rpartition("\n")
        if newline:
            told.append((_STREAMS[number], lines + newline))
    for number, text in begun.items():
        rest = text + decoders[number].decode(b"", final=True)
        if rest:
            told.append((_STREAMS[number], rest))
    if facts["left_out"]:
        text = f"\nentangle: {facts['left_out']:,} bytes of output are left out here\n"
        told.append(("stderr", text))
    return told
