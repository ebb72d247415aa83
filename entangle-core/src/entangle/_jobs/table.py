"""The table of the jobs that are not over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entangle._seam.call import Call

    from .ticket import Ticket


class Table:
    """Tickets by the names of their jobs and by their calls. Thread-safe.

    Attributes:
        lock: Held while a ticket is changed; never while anybody is called.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._tickets: dict[str, Ticket] = {}
        self._by_call: dict[Call, Ticket] = {}

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._tickets)

    def add(self, ticket: Ticket) -> None:
        """Put a ticket on the table."""
        with self.lock:
            self._tickets[ticket.name] = ticket
            self._by_call[ticket.call] = ticket

    def take(self, ticket: Ticket) -> bool:
        """Take a ticket off; False if somebody else did, who reports its end."""
        with self.lock:
            self._by_call.pop(ticket.call, None)
            return self._tickets.pop(ticket.name, None) is not None

    def named(self, name: str) -> Ticket | None:
        """Return the ticket of a job."""
        return self._tickets.get(name)

    def of(self, call: Call) -> Ticket | None:
        """Return the ticket of a call."""
        return self._by_call.get(call)

    def all(self, *stages: str) -> list[Ticket]:
        """Return the tickets in some stages; in any if none is given."""
        with self.lock:
            return [
                t for t in self._tickets.values() if not stages or t.stage in stages
            ]
