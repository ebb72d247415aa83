"""Errors as the caller of a run gets them."""

from __future__ import annotations

from typing import Any

from entangle._worker import failures
from entangle.errors import TaskError


def told(error: Any) -> BaseException:
    """Return an error as the caller gets it.

    What would end the caller's own program, loop or iteration if it were raised there
    becomes a `TaskError`, as it does when it comes from a process. So does what is no
    exception at all.
    """
    if isinstance(error, failures.steering()):
        return failures.decode_failure(failures.encode_failure(error))
    if isinstance(error, BaseException):
        return error
    return TaskError(type(error).__name__, f"{error!r} is no exception")
