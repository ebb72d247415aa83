"""One instance that is kept while its stream is open."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from . import _ec2_machines
from .errors import AwsError

if TYPE_CHECKING:
    from ._ec2_machines import Machines

log = logging.getLogger("entangle.aws")

_CLOSE: Final = 90.0  # seconds before its expiry from which on that explains an end


class Instance:
    """An instance that was started for a stream. Thread-safe.

    Args:
        machines: Who has started it.
        name: Its identifier.
        expires: When it ends in any case, in seconds since the epoch.

    Attributes:
        name: As the argument.
    """

    def __init__(self, machines: Machines, name: str, expires: float) -> None:
        self.name = name
        self._machines = machines
        self._expires = expires
        self._ending = threading.Lock()
        self._ended = False

    def fate(self) -> str:
        """Return why it is over; empty while it is not, as far as EC2 has noticed."""
        for found in self._machines.described(self.name):
            if not _ec2_machines.over(found):
                return ""
            if time.time() > self._expires - _CLOSE:
                return "its lifetime is over: give it more with lifetime="
            return _ec2_machines.reason(found)
        return ""  # not known yet

    def check(self) -> None:
        """Raise the error for one that is over before it was reached, if it is."""
        fate = self.fate()
        if fate:
            raise self.failure(f"it ended before it was reached: {fate}")

    def failure(self, why: str) -> AwsError:
        """Return the error for one that can't be reached, with its last words."""
        printed = self._machines.printed(self.name)
        said = "".join(f"\n  {line}" for line in printed.splitlines())
        return AwsError(
            f"{why}; it is terminated"
            + (f"\nThe last that it printed:{said}" if said else ""),
            service="ssm",
            operation="StartSession",
            resource=self.name,
        )

    def end(self) -> None:
        """Terminate it, once; if that can't be done it ends by itself."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
        try:
            self._machines.end(self.name)
        except Exception as error:  # noqa: BLE001 - nobody could do more about it
            log.warning(
                "%s can't be terminated: %s; it ends by itself when its client is gone, "
                "or by `entangle sweep aws`",
                self.name,
                error,
            )
