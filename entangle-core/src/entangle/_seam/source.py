"""What supplies the argument of a task's function: requests, queries, files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from entangle._graph.supplied import Asked


class Rate(NamedTuple):
    """How often something may begin.

    Attributes:
        calls: How many times.
        seconds: In how many seconds.
    """

    calls: float
    seconds: float

    @property
    def interval(self) -> float:
        """The seconds from one begin to the next."""
        return self.seconds / self.calls


class Source(ABC):
    """Supplies the last argument of a task's function from what its calls are given.

    A subclass says so for one kind of source; `entangle.backend.source` makes a
    decorator of it. An instance is made in every process that needs one, is used by
    all of its threads at once, and must do nothing slow when it is made: it is also
    asked about calls and functions where they are written.
    """

    def check_function(  # noqa: B027 - most have nothing to refuse
        self, function: Callable[..., Any], *, travels: bool
    ) -> None:
        """Refuse a function that can't take what this supplies.

        Args:
            function: What was decorated.
            travels: Whether the value goes to another thread or process before the
                function takes it, or is given back by the task, so that it must pickle
                and refer to nothing that ends with the call of `supply`.

        Raises:
            TypeError: with the reason, as the rest of a sentence.
        """

    def check_call(self, values: int, names: tuple[str, ...]) -> None:
        """Refuse a call of the task, where it is written.

        Args:
            values: How many positional arguments it has; what they are may not be
                known yet.
            names: The names of its keyword arguments.

        Raises:
            TypeError: with the reason.
        """
        del names
        if values:
            raise TypeError(f"it takes keywords only, and {values} values were given")

    @abstractmethod
    def supply(self, asked: Asked) -> AbstractContextManager[Any]:
        """Supply a value for a call; in the worker that needs it.

        Args:
            asked: The arguments of the call, and what is known of it.

        Returns:
            A context manager: entering it gives the value, which the function is
            called with; leaving it when the function has returned, or failed, is the
            time to close and remove what the value needs.

        Raises:
            SourceError: What went wrong, and whether another attempt is worthwhile.
        """

    @property
    def rate(self) -> Rate | None:
        """How often calls of one task may begin, over all workers; None for any."""
        return None

    def close(self) -> None:  # noqa: B027 - most keep nothing
        """Let go of what is kept between calls; the instance is not used again."""
