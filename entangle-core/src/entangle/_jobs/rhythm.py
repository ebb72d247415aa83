"""When to ask again: soon while something happens, else more and more seldom."""

from __future__ import annotations

import random
from typing import NamedTuple


class Pace(NamedTuple):
    """How often a place is asked after its jobs.

    Attributes:
        first: Seconds until the first question, and after any news.
        factor: By which the pause grows while there is none.
        most: Seconds between two questions at most.
        jitter: The share by which a pause may be longer or shorter, so that many
            clients don't ask at the same moment.
    """

    first: float = 0.2
    factor: float = 1.4
    most: float = 10.0
    jitter: float = 0.25


class Rhythm:
    """The pauses between the questions of one poller. Not thread-safe."""

    def __init__(self, pace: Pace, seed: int | None = None) -> None:
        self._pace = pace
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._pause = pace.first

    def news(self) -> None:
        """Something has happened: ask soon."""
        self._pause = self._pace.first

    def next(self) -> float:
        """Return the seconds until the next question."""
        pause, pace = self._pause, self._pace
        self._pause = min(pause * pace.factor, pace.most)
        return pause * (1 + pace.jitter * self._random.uniform(-1, 1))
