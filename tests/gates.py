"""Gates: places in a body where it says that it is there and waits to be let on."""

import asyncio
import os


class Gate:
    """Two named pipes, seen from the test; works for bodies in any process."""

    def __init__(self, folder, name="gate"):
        self.path = str(folder / name)
        self._ends = []
        for suffix in (".here", ".go"):
            os.mkfifo(self.path + suffix)
            # For reading too, so that opening and writing never block.
            self._ends.append(os.open(self.path + suffix, os.O_RDWR | os.O_CLOEXEC))

    def reached(self, count=1):
        """Wait until `count` more bodies are at the gate; return their process ids."""
        data = b""
        while len(data) < 8 * count:
            data += os.read(self._ends[0], 8 * count - len(data))
        return [
            int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)
        ]

    def open(self, count=1):
        """Let `count` bodies pass, now or when they come."""
        os.write(self._ends[1], b"." * count)

    def close(self):
        """Let everybody pass, and remove the pipes."""
        self.open(100)
        for end in self._ends:
            os.close(end)


def at(path):
    """Say that this body is at a gate, without waiting there."""
    end = os.open(path + ".here", os.O_WRONLY | os.O_CLOEXEC)
    os.write(end, os.getpid().to_bytes(8, "little"))
    os.close(end)


def through(path, value=None):
    """Say that this body is at a gate, wait to be let on, and return `value`."""
    go = os.open(path + ".go", os.O_RDONLY | os.O_CLOEXEC)
    try:
        at(path)
        os.read(go, 1)
    finally:
        os.close(go)
    return value


async def through_async(path, value=None):
    """Do as `through`, on an event loop."""
    go = os.open(path + ".go", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        at(path)
        while True:
            try:
                os.read(go, 1)
            except BlockingIOError:
                await asyncio.sleep(0.001)
            else:
                return value
    finally:
        os.close(go)
