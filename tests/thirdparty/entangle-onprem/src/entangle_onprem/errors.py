"""What can be wrong with a spool."""

from __future__ import annotations

from entangle.errors import EntangleError


class SpoolError(EntangleError):
    """A spool that can't be used.

    Attributes:
        spool: Its path.
        reason: Why, and what to do about it.
    """

    def __init__(self, spool: str, reason: str) -> None:
        """Build the message from the path and the reason."""
        super().__init__(f"spool {spool}: {reason}")
        self.spool = spool
        self.reason = reason
