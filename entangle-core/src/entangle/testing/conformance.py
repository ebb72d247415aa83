"""The suite that judges executors: what one declares, it does; the rest it refuses.

It tests an executor in two ways: by itself, through `Executor.start`, and as the place
of tasks in graphs. All functions that it sends travel by value, so that the other side
needs none of this.
"""

from __future__ import annotations

from .places import PlacesSuite
from .protocol import ProtocolSuite
from .values import ValuesSuite


class ExecutorConformance(ValuesSuite, ProtocolSuite, PlacesSuite):
    """Inherit it, in a class whose name begins with Test, and give `executor`.

    Override the fixture ``executor``: one executor for each test, shut down at its
    end. For a place with a file system of its own override ``folder``, too, with one
    that gives None.

    Attributes:
        patience: Seconds that anything which must happen may take.
        most_bytes: The largest payload that is sent both ways.
        calls_at_once: How many calls are given to it at once.
    """
