"""A call in a sandbox that is kept for the next: what a function service runs.

The handler is given a payload, and returns the signed answer, or says that it has put
it where it is looked for.
"""

from __future__ import annotations

import base64
import sys
import time

from . import calls, job, transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 4_000_000  # bytes of an answer that the service takes, as text in JSON
_OUTPUT = 256 << 10  # bytes of output that travel with such an answer


def handler(event: dict[str, Any], context: object = None) -> dict[str, Any]:
    """Run the call of a payload and return its answer.

    Args:
        event: The payload.
        context: What the service says of it; not used.

    Returns:
        ``{"answer": text}``, or ``{"stored": size}`` where the answer was too large
        and was put into the store, or ``{"too_large": size}`` where there is none.
    """
    del context
    facts, parts = calls.collected(job.document_of(event["call"]))
    output = job.Output(job.MOST_OUTPUT if facts["answer"] else _OUTPUT)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tee(1, before[0], output), _Tee(2, before[1], output)
    try:
        said, answer = calls.run(facts, parts, time.time)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass  # closed or replaced by the body
        sys.stdout, sys.stderr = before
    data = job.sealed(facts, said, answer, output)
    if len(data) <= LARGEST:
        return {"answer": base64.b64encode(data).decode()}
    if facts["answer"]:
        transport.put(facts["answer"], data)
        return {"stored": len(data)}
    return {"too_large": len(data)}


class _Tee:
    """A text stream that keeps what it passes on."""

    encoding = "utf-8"
    errors = "backslashreplace"
    closed = False

    def __init__(self, number: int, stream: Any, output: job.Output) -> None:
        self._number = number
        self._stream = stream
        self._output = output

    def write(self, text: str) -> int:
        self._output.take(self._number, text.encode("utf-8", "backslashreplace"))
        self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
