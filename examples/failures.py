"""What failures look like: the task's own exception, and which node it was.

The first failure ends a run and is raised as itself. `gather` with
`return_exceptions=True` delivers failures in place instead, while the others go on.
A process that dies takes nothing else along.
"""

import os
import signal

from entangle.process import ProcessTerminatedException, process
from entangle.task import gather


class BadRowError(ValueError):
    """A row can't be read; an own attribute and an own constructor."""

    def __init__(self, row: int, reason: str) -> None:
        """Keep the row's number."""
        super().__init__(f"row {row}: {reason}")
        self.row = row


@process
def parse(row: int) -> int:
    if row == 3:
        raise BadRowError(row, "not a number")
    return row * 10


@process
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Fail in three ways, and go on."""
    try:
        parse.map(range(5))()
    except BadRowError as error:
        print(f"{type(error).__name__}: {error} (row {error.row})")
    for value in gather(*map(parse, range(5)), return_exceptions=True)():
        print(f"in place: {value!r}")
    try:
        crash()()
    except ProcessTerminatedException as error:
        print(f"died of signal {error.signal}; the next call works: {parse(1)()}")


if __name__ == "__main__":
    main()
