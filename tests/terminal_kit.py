"""A real pseudo-terminal, and somebody who looks at it."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

import pyte

PATIENCE = 60.0
# Without a buffer Python itself writes a line and its end as two.
ELSEWHERE = {"CI", "NO_COLOR", "PYTHONUNBUFFERED"}


class Terminal:
    """Runs a program on a terminal and keeps what was to be seen on it.

    Attributes:
        frames: The lines on the screen, each time something was written.
        raw: All bytes that were written.
        out: What the program wrote to stdout, where that was a pipe.
    """

    def __init__(self, columns=80, rows=24):
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1)
        self._stream = pyte.ByteStream(self.screen)
        self._master, self._slave = os.openpty()
        self.frames = []
        self.raw = b""
        self.out = ""
        self.code = None
        self.size(columns, rows)

    def size(self, columns, rows):
        """Make the window larger or smaller."""
        packed = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, packed)
        self.screen.resize(rows, columns)

    def run(self, *arguments, pipe=False, env=None, on_frame=None):
        """Run a Python program to its end.

        Args:
            arguments: What Python is given.
            pipe: Whether stdout is a pipe instead of the terminal.
            env: Variables besides those of a terminal; None removes one.
            on_frame: Called after each frame.
        """
        around = {k: v for k, v in os.environ.items() if k not in ELSEWHERE}
        around |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
        around |= env or {}
        around = {name: value for name, value in around.items() if value is not None}
        program = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=self._slave,
            stdout=subprocess.PIPE if pipe else self._slave,
            stderr=self._slave,
            env=around,
            start_new_session=True,
        )
        os.close(self._slave)
        deadline = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                ready, _, _ = select.select([self._master], [], [], 0.1)
                if not ready:
                    if program.poll() is not None:
                        break
                    continue
                try:
                    data = os.read(self._master, 1 << 16)
                except OSError:
                    break  # nobody has the other end any more
                self.raw += data
                self._stream.feed(data)
                self.frames.append(self.lines())
                if on_frame is not None:
                    on_frame(self)
            if pipe:
                self.out = program.stdout.read().decode()
            self.code = program.wait(timeout=PATIENCE)
        finally:
            program.kill()
            program.wait()
            if pipe:
                program.stdout.close()
            os.close(self._master)
        return self

    def lines(self):
        """Return the lines on the screen that are not empty, and all above them."""
        above = [
            "".join(row[column].data for column in range(self.screen.columns))
            for row in self.screen.history.top
        ]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        return [line for line in lines if line]
