"""The decorator ``@request``."""

from __future__ import annotations

from typing import Final

from entangle.backend import source

from ._source import RequestSource

__all__ = ["request"]


def _call(
    value: object = None, after: object = None, /, **parameters: object
) -> object:
    """Stand for what calls look like: one value, or parameters by name.

    There are two values, since a method's instance is the first one to checkers.
    """


request: Final = source(RequestSource, name="request", calls_like=_call)
