"""Jobs that may still run though their calls are over."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from entangle._log import Log

if TYPE_CHECKING:
    from .executor import JobExecutor
    from .ticket import Ticket

log = Log("entangle.jobs")

_REFUSALS: Final = 3  # in a row, after which no more is asked
_NAMED: Final = 20  # jobs that a warning names


class Strays:
    """Those that could not be ended, until it is tried once more. Thread-safe.

    Args:
        place: Whose jobs they are.
    """

    def __init__(self, place: JobExecutor) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}

    def add(self, ticket: Ticket) -> None:
        """Remember a job, if the place has it."""
        if ticket.handle:
            with self._lock:
                self._tickets[ticket.handle] = ticket

    def end(self) -> None:
        """End them all, or say in one warning which may still run, and until when."""
        with self._lock:
            tickets, self._tickets = [*self._tickets.values()], {}
        left: list[Ticket] = []
        error: Exception | None = None
        refusals = 0
        for ticket in tickets:
            if refusals < _REFUSALS:
                try:
                    self._place.delete(ticket.handle, over=False)
                except Exception as refusal:
                    error = refusal
                    refusals += 1
                else:
                    refusals = 0
                    continue
            left.append(ticket)
        if left:
            self._warn(left, error)

    def _warn(self, left: list[Ticket], error: Exception | None) -> None:
        names = ", ".join(ticket.handle for ticket in left[:_NAMED])
        if len(left) > _NAMED:
            names += f" and {len(left) - _NAMED} more"
        ends = time.gmtime(max(ticket.expires for ticket in left))
        log.warning(
            "of %s may still run, until %s UTC at the latest: %s; they can't be ended: "
            "%s; `entangle sweep` ends them as soon as it may",
            self._place.name,
            time.strftime("%Y-%m-%d %H:%M:%S", ends),
            names,
            error,
        )
