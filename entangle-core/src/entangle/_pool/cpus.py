"""How many calls may use a processor at once, and which processors are in use."""

from __future__ import annotations

import os

from entangle._worker import processors

WORKERS = "ENTANGLE_WORKERS"


class Processors:
    """Which processors are in use by calls that are bound to theirs."""

    def __init__(self) -> None:
        self._uses = dict.fromkeys(processors.allowed(), 0)

    def least_used(self, count: int) -> tuple[int, ...]:
        """Return so many of the processors, fewer if there are not as many."""
        ids = sorted(self._uses, key=lambda cpu: (self._uses[cpu], cpu))
        return tuple(sorted(ids[:count]))

    def use(self, cpus: tuple[int, ...]) -> None:
        """Take note that a call is bound to processors."""
        for cpu in cpus:
            self._uses[cpu] += 1

    def release(self, cpus: tuple[int, ...]) -> None:
        """Take note that it is over."""
        for cpu in cpus:
            self._uses[cpu] -= 1


def workers() -> int:
    """Return how many calls may use a processor at once.

    ``ENTANGLE_WORKERS`` if set, else the processors this process is bound to, bounded
    by its cgroup's quota, rounded up.

    Raises:
        ValueError: ``ENTANGLE_WORKERS`` is no whole number above zero.
    """
    text = os.environ.get(WORKERS)
    if text:
        if not text.strip().isdecimal() or int(text) < 1:
            raise ValueError(
                f"{WORKERS}={text!r} is no whole number above 0: set it to the number "
                "of calls that may run at once, or unset it"
            )
        return int(text)
    return processors.usable()
