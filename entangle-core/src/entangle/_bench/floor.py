"""The floor: bare forked workers, each behind a socket, driven by one loop.

What any framework has to pay on this machine: pickling a function's name with its
arguments, one write and one read each way. No errors, no deadlines, no clean-up.
"""

import os
import pickle
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

HEADER = 4
CHUNK = 1 << 16
WINDOW = 8  # calls in flight for each worker

Job = tuple[int, Callable[..., Any], tuple[Any, ...]]


class Channel:
    """Length-prefixed pickles over a socket."""

    def __init__(self, end: socket.socket) -> None:
        """Take over a connected socket."""
        self.end = end
        self.buffer = bytearray()

    def send(self, message: object) -> None:
        """Send one message."""
        data = pickle.dumps(message, 5)
        self.end.sendall(len(data).to_bytes(HEADER, "little") + data)

    def receive(self) -> list[Any]:
        """Block until there is something; return all whole messages, [] at the end."""
        buffer = self.buffer
        messages: list[Any] = []
        while not messages:
            data = self.end.recv(CHUNK)
            if not data:
                return []
            buffer += data
            at = 0
            while len(buffer) - at >= HEADER:
                size = int.from_bytes(buffer[at : at + HEADER], "little")
                if len(buffer) - at - HEADER < size:
                    break
                at += HEADER
                messages.append(pickle.loads(memoryview(buffer)[at : at + size]))
                at += size
            del buffer[:at]
        return messages


class FloorPool:
    """Some bare workers, used by one thread."""

    def __init__(self, workers: int) -> None:
        """Fork the workers."""
        self.channels: list[Channel] = []
        self.pids: list[int] = []
        for _ in range(workers):
            mine, theirs = socket.socketpair()
            pid = os.fork()
            if not pid:
                mine.close()
                for channel in self.channels:
                    channel.end.close()
                _work(Channel(theirs))
            theirs.close()
            self.channels.append(Channel(mine))
            self.pids.append(pid)
        self.poll = select.poll()
        self.by_fd = {channel.end.fileno(): channel for channel in self.channels}
        for number in self.by_fd:
            self.poll.register(number, select.POLLIN)

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Run one call in the first worker."""
        channel = self.channels[0]
        channel.send((0, function, arguments))
        return channel.receive()[0][1]

    def run(
        self, jobs: Iterable[Job], landed: Callable[[int, Any], Iterable[Job]]
    ) -> None:
        """Run jobs, and those that `landed(number, value)` returns, until none is left."""
        waiting = deque(jobs)
        flying = dict.fromkeys(self.by_fd, 0)
        while waiting or any(flying.values()):
            for number, channel in self.by_fd.items():
                while waiting and flying[number] < WINDOW:
                    channel.send(waiting.popleft())
                    flying[number] += 1
            for number, _ in self.poll.poll():
                for answer in self.by_fd[number].receive():
                    flying[number] -= 1
                    waiting.extend(landed(*answer))

    def close(self) -> None:
        """End and reap the workers."""
        for channel in self.channels:
            channel.end.close()
        for pid in self.pids:
            os.waitpid(pid, 0)


def _work(channel: Channel) -> None:
    try:
        while jobs := channel.receive():
            for number, function, arguments in jobs:
                channel.send((number, function(*arguments)))
    finally:
        os._exit(0)
