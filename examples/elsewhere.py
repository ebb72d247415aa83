"""The same tasks in another Python, to which only a byte stream leads.

`open` starts a Python somewhere and returns the stream to it: here it is another process
of this machine; `ssh host python3` or `docker exec -i name python3` would do as well.
Nothing has to be installed there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from entangle.backend import CommandStream, Stream, StreamExecutor, infrastructure
from entangle.process import process
from entangle.task import gather


class ElsewhereExecutor(StreamExecutor):
    """Runs calls in a Python that a command leads to.

    Args:
        python: The command.
        calls: How many calls run there at once.
    """

    def __init__(self, *, python: str = sys.executable, calls: int = 2) -> None:
        super().__init__(calls=calls)
        self._python = python

    def open(self, command: Sequence[str]) -> Stream:
        """Start one."""
        return CommandStream([*self._python.split(), *command[1:]], cwd="/")


elsewhere = infrastructure(ElsewhereExecutor)


@process(timeout=60)
@elsewhere(calls=2)
def count(text: str) -> tuple[int, str]:
    """Count words; what is printed there appears here."""
    print("counting in", Path.cwd())
    return len(text.split()), str(Path.cwd())


@process
def total(counts: list[tuple[int, str]]) -> int:
    """Add up here what was counted elsewhere."""
    return sum(number for number, _ in counts)


if __name__ == "__main__":
    texts = ["one two three", "four five", "six"]
    print("words", total(gather(*[count(text) for text in texts]))())
