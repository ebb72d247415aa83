"""What was just made in IAM, of which the services do not know at once."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final

from .errors import AwsError, PassingError

if TYPE_CHECKING:
    from collections.abc import Generator

_PATIENCE: Final = 60.0  # seconds until it is known everywhere
# What services say of it until then, and of what is wrong for good.
_UNKNOWN: Final = (
    "cannot be assumed",  # Lambda
    "Role is not valid",  # ECS
    "unable to assume the role",
    "nable to assume the service linked role",
    "Invalid IAM Instance Profile",  # EC2
)


class Settling:
    """Tells what may be known soon from what is wrong for good. Thread-safe.

    However many ask, they wait for a minute together; after another one without such an
    answer that begins anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first = self._last = -math.inf

    @contextlib.contextmanager
    def known(self) -> Generator[None]:
        """Raise what is refused inside for what may be known soon as `PassingError`.

        Raises:
            PassingError: It may be known soon: ask again.
            AwsError: It was not for a minute; or it is refused for another reason.
        """
        try:
            yield
        except AwsError as error:
            if not any(each in error.reason for each in _UNKNOWN):
                raise
            if self._waits():
                raise PassingError(str(error)) from error
            raise AwsError(
                f"{error.reason}; what is new in IAM is known everywhere after some "
                f"seconds, and this was not in {_PATIENCE:g}: look whether it is there, "
                "and who may assume it",
                service=error.service,
                operation=error.operation,
                code=error.code,
                resource=error.resource,
            ) from error

    def _waits(self) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._last > _PATIENCE:
                self._first = now
            self._last = now
            return now - self._first < _PATIENCE
