"""The host's side of one worker: its descriptors, its page, what it is ahead with."""

from __future__ import annotations

import _socket
import fcntl
import os
import termios
from _struct import unpack
from mmap import mmap

from . import page

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any
else:
    # As in `zygote`.
    from _collections import deque


class HostedWorker:
    """The host's side of one worker."""

    def __init__(self, number: int) -> None:
        """Make what it speaks over; the rest are its parent's copies."""
        self.number = number
        self.memory = mmap(-1, page.SIZE)
        self.inbox: deque[Any] = deque()
        self.passed_on = 0  # bytes, since credit was given for them
        self.output_ahead = 0  # bytes of output that the caller has given no credit for
        self.entered = 0
        self.watched = False
        self.silent_since = 0.0
        self.stalled = False  # its output is not read
        self.closed: set[int] = set()  # outputs that it has closed
        ours, theirs = _socket.socketpair()
        self.socket = ours
        ours.setblocking(False)
        self.theirs: list[int] = [theirs.detach()]
        self.outputs: list[int] = []
        for _ in range(2):
            read, write = os.pipe()
            os.set_blocking(read, False)
            self.outputs.append(read)
            self.theirs.append(write)
        self.tokens, self.grants = os.pipe()
        os.set_blocking(self.tokens, False)
        os.set_blocking(self.grants, False)
        self.theirs.append(os.dup(self.tokens))

    def let_go(self) -> None:
        """Close what is the worker's alone."""
        for descriptor in self.theirs:
            os.close(descriptor)
        self.theirs = []

    def close(self) -> None:
        """Close everything."""
        self.let_go()
        self.socket.close()
        for descriptor in (*self.outputs, self.tokens, self.grants):
            os.close(descriptor)
        self.memory.close()


def readable(descriptor: int) -> int:
    """Return how many bytes can be read at once."""
    found: tuple[int] = unpack(
        "i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    )
    return found[0]
