"""The program of a job: fetches a call, runs it in a child, leaves a signed answer.

Nothing else of Entangle needs to be there, nor the client any more. Data flow: the
address of the call comes in, the child writes its answer to a file without a name and
what it prints to pipes, and this process, which has run nothing of the user's, passes
output on to the place's log, signs the answer and puts it where it is looked for. Where
somebody follows that log its lines are numbered.
"""

from __future__ import annotations

import base64
import os
import select
import shutil
import signal
import sys
import tempfile
import time

from . import calls, documents, family, sealing, transport
from .lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

MOST_OUTPUT = 16 << 20  # bytes of output that travel with an answer
UNFINISHED = 75  # exit code: it was told to end, or there is no way for its answer
_CHUNK = 1 << 16
_PATIENCE = 300.0  # seconds for which an answer waits for a network
_TICK = 5.0  # seconds between two looks at the time


class Output:
    """What a job prints, up to a limit, in the order in which it came."""

    def __init__(self, most: int = MOST_OUTPUT) -> None:
        self._room = most
        self._left_out = 0
        self._pieces: list[tuple[int, bytes]] = []

    def take(self, stream: int, data: bytes) -> None:
        """Keep what came from descriptor 1 or 2, as long as there is room."""
        kept = data[: max(0, self._room)]
        self._room -= len(kept)
        self._left_out += len(data) - len(kept)
        if kept:
            self._pieces.append((stream, kept))

    def facts(self) -> dict[str, Any]:
        """Return which stream each piece is of, its length, and what is missing."""
        return {
            "output": [[stream, len(data)] for stream, data in self._pieces],
            "left_out": self._left_out,
        }

    def data(self) -> bytes:
        """Return all pieces in a row."""
        return b"".join(data for _, data in self._pieces)


def main(pointer: dict[str, Any], folder: str) -> None:
    """Run a job in this process and leave it; never returns.

    Args:
        pointer: Where the call lies: ``{"call": {"url": ..., "sha256": ...}}``.
        folder: The folder that this program was unpacked to; removed at the end.
    """
    code = UNFINISHED
    try:
        signal.signal(signal.SIGTERM, _told)
        # Until now nobody would have removed the folder.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        facts, parts = calls.collected(document_of(pointer["call"]))
        answer = _Supervisor(facts, parts).answer()
        patience = min(_PATIENCE, float(facts["expires"]) - time.time())
        transport.put(facts["answer"], answer, patience)
        code = 0
    except _Told:
        code = 128 + signal.SIGTERM
    except Exception as error:
        print(f"entangle: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        family.end_descendants()
        shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.flush()
        os._exit(code)


def document_of(place: dict[str, str]) -> bytes:
    """Return the document of a call, which lies elsewhere or is there already."""
    if "data" in place:
        return base64.b64decode(place["data"])
    return transport.get(place["url"], place["sha256"])


def sealed(
    facts: dict[str, Any],
    said: dict[str, Any],
    parts: list[Any],
    output: Output,
) -> bytes:
    """Return an answer that only this job can have given."""
    body = documents.write({**said, **output.facts()}, [*parts, output.data()])
    about = [facts["run"], facts["job"], facts["attempt"]]
    return sealing.seal(bytes.fromhex(facts["key"]), about, body)


class _Told(BaseException):
    """The place wants the job to end."""


def _told(*_: object) -> None:
    # Once: who is impatient must not keep this one from ending its child.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise _Told


class _Supervisor:
    """Watches over the child that runs the call."""

    def __init__(self, facts: dict[str, Any], parts: list[Any]) -> None:
        self._facts = facts
        self._parts = parts
        self._output = Output()
        self._lines = Lines() if facts.get("numbered") else None
        self._streams: dict[int, int] = {}  # the reading end of a pipe: 1 or 2
        self._status: Optional[int] = None
        self._ends = float(facts["expires"])

    def answer(self) -> bytes:
        """Run the call to its end and return what there is to say of it."""
        family.adopt_orphans()
        kills = family.kills_for_memory()
        signal.signal(signal.SIGTERM, _told)
        signal.signal(signal.SIGINT, _told)
        with tempfile.TemporaryFile() as file:
            pid = self._fork(file.fileno())
            expired = self._watch(pid)
            family.end_descendants()
            self._drain()
            told = self._end_lines()
            file.seek(0)
            if not expired and self._status == 0:
                said, parts = documents.read(file.read())
                return sealed(self._facts, {**said, **told}, parts, self._output)
        status = self._status or 0
        code = status >> 8
        died = {
            "kind": calls.DIED,
            "pid": pid,
            "signal": status & 0x7F or None,
            "code": code if not status & 0x7F else None,
            "memory": status & 0x7F == signal.SIGKILL
            and family.kills_for_memory() > kills,
            "expired": expired,
            **told,
        }
        return sealed(self._facts, died, [], self._output)

    def _fork(self, file: int) -> int:
        pipes = [os.pipe(), os.pipe(), os.pipe()]
        pid = os.fork()
        if pid == 0:
            for end, _ in pipes:
                os.close(end)
            _become(self._facts, self._parts, file, [end for _, end in pipes])
        for _, end in pipes:
            os.close(end)
        (out, _), (err, _), (news, _) = pipes
        self._streams = {out: 1, err: 2, news: 0}
        self._parts = []  # they are the child's
        return pid

    def _watch(self, pid: int) -> bool:
        """Pass on what comes until the child has ended; whether it had to be ended."""
        expired = False
        while self._status is None:
            left = self._ends - time.time()
            if left <= 0 and not expired:
                expired = True
                os.kill(pid, signal.SIGKILL)
            self._pass_on(max(0.01, min(left, _TICK)))
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._status = status
        return expired

    def _pass_on(self, seconds: float) -> bool:
        """Wait for news and pass them on; whether there were any."""
        if not self._streams:
            # The body has closed everything: nothing tells of its end.
            time.sleep(min(seconds, 0.01))
            return False
        # A descendant may hold the pipes open when the child is gone.
        ready, _, _ = select.select([*self._streams], [], [], min(seconds, 0.25))
        for descriptor in ready:
            data = os.read(descriptor, _CHUNK)
            stream = self._streams[descriptor]
            if not data:
                os.close(descriptor)
                del self._streams[descriptor]
            elif stream:
                self._output.take(stream, data)
                if self._lines is not None:
                    lines = self._lines.take(stream, data)
                    data = b"".join(line.written() for line in lines)
                _print(stream, data)
            else:
                self._entered()
        return bool(ready)

    def _drain(self) -> None:
        """Read what is left in the pipes; nobody writes to them any more."""
        while self._streams and self._pass_on(0):
            pass
        for descriptor in self._streams:
            os.close(descriptor)
        self._streams = {}

    def _end_lines(self) -> dict[str, int]:
        """Pass on what has no end of a line; return how many lines there were."""
        if self._lines is None:
            return {}
        for line in self._lines.rest():
            _print(line.stream, line.written())
        return {"lines": self._lines.count}

    def _entered(self) -> None:
        """The body was entered: its limit counts from here."""
        limit = self._facts.get("limit")
        if limit is not None:
            self._ends = min(self._ends, time.time() + limit)
        url = self._facts.get("started")
        if url:
            try:
                transport.put(url, b"")
            except transport.TransportError as error:
                print(f"entangle: {error}", file=sys.stderr)


def _print(stream: int, data: bytes) -> None:
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(stream, view) :]
    except OSError:
        pass  # nobody keeps a log


def _become(
    facts: dict[str, Any], parts: list[Any], file: int, ends: list[int]
) -> None:
    """Run the call in this process, which was just forked, and leave it."""
    code = UNFINISHED
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        out, err, news = ends
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (out, 1), (err, 2)):
            os.dup2(source, target)
            os.close(source)
        # Made anew: the old ones believe to write to what the descriptors were before.
        for target, name in ((1, "stdout"), (2, "stderr")):
            made = os.fdopen(target, "w", 1, "utf-8", "backslashreplace", closefd=False)
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)
        said, answer = calls.run(facts, parts, lambda: os.write(news, b"!"))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass  # closed or replaced by the body
        with os.fdopen(os.dup(file), "wb") as written:
            written.write(documents.write(said, answer))
        code = 0
    except BaseException as error:
        print(f"entangle: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        # Neither exit handlers of the body's nor threads that it has left.
        os._exit(code)
