"""Secrets that were given to this process itself, and must not leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# What is shorter may be in anything by chance; stand-ins for tests have such.
_LEAST: Final = 8

_INSTEAD: Final = "keep it, and tasks that carry it, out of what the call reaches"

_values: dict[str, str] = {}


def withhold(value: str, instead: str = _INSTEAD) -> None:
    """Keep a value in this process: a job's call that holds it is refused.

    To be told by whoever is given a secret itself, before any call is sent, whatever
    place that is for: a program's other tasks must not carry it to theirs. It is good
    for the rest of the process. Thread-safe.

    Args:
        value: The value. Less than eight characters may be in anything by chance, and
            are left alone.
        instead: What to do, for who is told that a call holds it.
    """
    if len(value) >= _LEAST:
        _values[value] = instead


def withheld() -> Mapping[str, str]:
    """Return the values that must not leave this process, and what to do instead."""
    return _values.copy()
