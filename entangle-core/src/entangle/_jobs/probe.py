"""Which Python a place has: one call finds out, before many are sent in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .executor import JobExecutor
    from .table import Table
    from .ticket import Ticket

PATIENCE: Final = 60.0
"""Seconds for which calls wait for the one that finds out, all in all.

Most places begin a job within that. One that takes longer makes calls wait that may
well be right as they are, so then they are sent as they are; those that are not are
sent again.
"""


class Probe:
    """Holds calls back that only the right version of Python can take.

    While the version of the place is not known, one of them is sent, and the others
    wait until its body is entered, or it answers. If it fails before, the next is sent.
    Calls that any version can take, and those whose ``start=`` counts, never wait. Used
    by one thread.

    Args:
        place: The place.
        table: Its jobs.
    """

    def __init__(self, place: JobExecutor, table: Table) -> None:
        self._place = place
        self._table = table
        self._sent: Ticket | None = None
        self._ends: float | None = None

    def holds(self, ticket: Ticket, now: float) -> bool:
        """Tell whether a call has to wait; if not, it may be the one to find out."""
        if (
            self._place.python is not None
            or ticket.version is None
            or ticket.call.options.start is not None
        ):
            return False
        sent = self._sent
        if sent is not None and sent.begun:
            self._place.python = sent.version
            return False
        if self._ends is None:
            self._ends = now + PATIENCE
        if now >= self._ends or sent is ticket:
            return False
        if sent is not None and self._table.named(sent.name) is sent:
            return True
        self._sent = ticket
        return False

    def ends(self, now: float) -> float | None:
        """Return when calls that wait are sent all the same; None if none do."""
        waits = self._place.python is None and self._ends is not None
        return self._ends if waits and (self._ends or 0.0) > now else None
