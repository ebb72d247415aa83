"""The page that a worker shares with its caller: what began, what is answered.

The worker alone writes. Before a body is entered, its number and the time stand here:
this alone says what had begun when a worker died. The answers of quick calls lie here
until several are sent together, and the caller may read them here at any moment: no
answer is held back by the call behind it, whatever that one does with the interpreter.
"""

from __future__ import annotations

import os
from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

MARK = Struct("<QQ")  # number of the call entered last, monotonic ns
# In front of each value: the call's number, nanoseconds it took, bytes of its pickle.
VALUE = Struct("<QQQ")
# How many bytes of answers there are (16 bits), and which time the page is filled.
COUNT = Struct("<Q")
ANSWERS = MARK.size + COUNT.size  # where they begin
SIZE = 4096
ROOM = SIZE - ANSWERS
LONGEST = 200_000  # nanoseconds that the first answer waits for more

_SIZE = 0xFFFF
# Where a processor may show one's writes to another one in a different order, answers
# could be counted before they are there: none is kept then.
_ORDERED = os.uname().machine in {"x86_64", "i686", "i586"}


class Page:
    """The worker's side. One thread at a time may use it."""

    def __init__(self, memory: mmap) -> None:
        """Write to a page that holds zeros."""
        self.memory = memory
        self.size = 0
        self._turn = 0
        self._since = 0

    def hold(self, answer: bytes, now: int) -> bool:
        """Keep an answer that was given at `now` (ns); False if it is to be sent.

        It is where there is no room, or where the others have waited long enough.
        """
        size = self.size
        if not size:
            self._since = now
        elif now - self._since > LONGEST:
            return False
        end = size + len(answer)
        if end > ROOM or not _ORDERED:
            return False
        self.memory[ANSWERS + size : ANSWERS + end] = answer
        self.size = end
        # Last: what is counted is there.
        COUNT.pack_into(self.memory, MARK.size, self._turn << 16 | end)
        return True

    def held(self) -> bytes:
        """Return what is kept, to be sent; it stays in sight until `sent`."""
        return self.memory[ANSWERS : ANSWERS + self.size]

    def sent(self) -> None:
        """Take note that all that was kept is sent."""
        self.size = 0
        self._turn += 1
        COUNT.pack_into(self.memory, MARK.size, self._turn << 16)


def begun(memory: mmap) -> tuple[int, int]:
    """Return the number of the body entered last, and when (monotonic ns)."""
    number, moment = MARK.unpack_from(memory)
    return number, moment


def unsent(memory: mmap) -> bytes:
    """Return the answers that the worker keeps; those of them may be sent by now."""
    (count,) = COUNT.unpack_from(memory, MARK.size)
    size = count & _SIZE
    if not size:
        return b""
    answers = memory[ANSWERS : ANSWERS + size]
    (again,) = COUNT.unpack_from(memory, MARK.size)
    # What was sent meanwhile is in the stream, and here maybe overwritten.
    return answers if again >> 16 == count >> 16 else b""
