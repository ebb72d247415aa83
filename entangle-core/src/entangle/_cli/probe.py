"""The task with which `entangle doctor` tries the workers."""

import os

from entangle.process import process


@process
def where() -> int:
    """Return the id of the process that runs the call."""
    return os.getpid()
