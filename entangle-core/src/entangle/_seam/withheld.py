"""Secrets that were given to this process itself, and must not leave it."""

from __future__ import annotations

from typing import Final

# What is shorter may be in anything by chance; stand-ins for tests have such.
_LEAST: Final = 8

_values: set[str] = set()


def withhold(value: str) -> None:
    """Keep a value in this process: a job's call that holds it is refused.

    To be told by whoever is given a secret itself, before any call is sent, whatever
    place that is for: a program's other tasks must not carry it to theirs. It is good
    for the rest of the process. Thread-safe.

    Args:
        value: The value. Less than eight characters may be in anything by chance, and
            are left alone.
    """
    if len(value) >= _LEAST:
        _values.add(value)


def withheld() -> frozenset[str]:
    """Return the values that must not leave this process."""
    return frozenset(_values)
