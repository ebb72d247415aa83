"""Deadlines and second chances: `timeout`, `wait` and `retry`.

`timeout` bounds a call's own body, `wait` the time that its arguments may take,
`retry` runs a failed call again. A call that is out of time is ended with its whole
process, so nothing burns on.
"""

import tempfile
import time
from pathlib import Path

from entangle.process import ProcessTimeoutException, process


@process(timeout=0.3)
def stuck() -> str:
    time.sleep(60)
    return "never"


@process
def slow() -> str:
    time.sleep(60)
    return "too late"


@process
def quick() -> str:
    return "in time"


@process(wait=0.3)
def both(first: str, second: str) -> tuple[str, str]:
    return first, second


@process(retry=3, sleep=0.05, retry_on=(ConnectionError,))
def flaky(attempts: str) -> str:
    """Fail twice; each attempt leaves a mark in a file, since processes share none."""
    path = Path(attempts)
    number = len(path.read_text()) + 1
    path.write_text("x" * number)
    if number < 3:
        raise ConnectionError(f"attempt {number}: no answer")
    return f"answered at attempt {number}"


def main() -> None:
    """Show each of the three."""
    started = time.monotonic()
    try:
        stuck()()
    except ProcessTimeoutException as error:
        print(f"timeout: {error.phase} of {error.node}, after {error.seconds} s")
    try:
        both(quick(), slow())()
    except ProcessTimeoutException as error:
        print(f"wait: {error.phase} of {error.node}, after {error.seconds} s")
    with tempfile.NamedTemporaryFile(prefix="flaky-") as file:
        print(f"retry: {flaky(file.name)()}")
    print("all of it within 30 s:", time.monotonic() - started < 30)


if __name__ == "__main__":
    main()
