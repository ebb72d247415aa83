"""The beginning of a stream: from noise to a host that says what it is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._worker import packets, plain

from .bootstrap import OLDEST, payload

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_NOISE: Final = 1 << 24  # bytes
_SAID: Final = 2000  # bytes of noise that are kept for messages
_MOST_LINES: Final = 20
_LONGEST_LINE: Final = 200


class Refused(Exception):  # noqa: N818 - it is no error of ours
    """What is there can't be a host."""


class Hello(NamedTuple):
    """What a host says of its place.

    Attributes:
        python: Its version: major, minor, micro.
        implementation: ``'cpython'``.
        platform: As `sys.platform`.
        machine: As `os.uname` has it.
        pid: Of the host, in its place.
        cpus: How many processors calls may use there.
    """

    python: tuple[int, int, int]
    implementation: str
    platform: str
    machine: str
    pid: int
    cpus: int


class Handshake:
    """Finds the answer of the bootstrap in what a place says first.

    Attributes:
        version: The version of its Python in words, empty until it is known.
    """

    def __init__(self, marker: bytes) -> None:
        self.version = ""
        self._marker = marker
        self._held = b""
        self._skipped = 0
        self._noise = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take what has come.

        Returns:
            What to send and what is left over, once the place has answered.

        Raises:
            Refused: it has no Python that can be used, or never answers.
        """
        self._held += data
        at = self._held.find(self._marker)
        if at < 0:
            # The marker may have begun.
            keep = len(self._marker) - 1
            self._skip(self._held[:-keep])
            self._held = self._held[-keep:]
            return None
        begin = at + len(self._marker)
        end = self._held.find(b"\n", begin)
        if end < 0:
            if len(self._held) - begin > _LONGEST_LINE:
                raise Refused("it answers with what is no version of Python")
            return None
        self._skip(self._held[:at])
        self._held, said = b"", self._held
        line = said[begin:end].decode(errors="replace").strip()
        rest = said[end + 1 :]
        self.version, tag, library = [*line.split(" "), "", ""][:3]
        try:
            version = tuple(map(int, self.version.split(".")))
        except ValueError:
            raise Refused("it answers with what is no version of Python") from None
        if version < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Refused(f"its Python is {self.version}; {oldest} or newer is needed")
        return payload(tag, library=library != "0"), rest

    def said(self) -> str:
        """Return the last lines that came before the answer, or instead of it."""
        text = (self._noise + self._held)[-_SAID:].decode(errors="replace")
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        return visible("\n".join(lines[-_MOST_LINES:]))

    def _skip(self, noise: bytes) -> None:
        self._skipped += len(noise)
        self._noise = (self._noise + noise)[-_SAID:]
        if self._skipped > _MOST_NOISE:
            raise Refused(
                f"it says other things than what was asked: {self._skipped:,} bytes"
            )


def visible(text: str) -> str:
    """Return a text with what a terminal would obey, not show, as escapes."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1]
        for each in text
    )


def read_hello(kind: int, content: bytes) -> Hello:
    """Return what the first packet of a host says.

    Raises:
        Refused: it is something else.
    """
    try:
        found: Mapping[str, Any] = {}
        if kind == packets.HELLO:
            found = plain.decode(content)
        python = tuple(map(int, found["python"]))
        return Hello(
            (python[0], python[1], python[2]),
            str(found["implementation"]),
            str(found["platform"]),
            str(found["machine"]),
            int(found["pid"]),
            max(1, int(found["cpus"])),
        )
    except (ValueError, KeyError, TypeError, IndexError, plain.NotPlainError) as error:
        raise Refused("what answers is no host of this version") from error
