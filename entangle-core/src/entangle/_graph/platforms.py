"""The check that this operating system can run Entangle."""

from __future__ import annotations

import sys

from entangle.errors import PlatformError


def require_platform() -> None:
    """Refuse an operating system that has no fork.

    Raises:
        PlatformError: On Windows.
    """
    # A variable, so that type checkers on Windows still check what follows.
    platform = sys.platform
    if platform == "win32":
        raise PlatformError(platform=platform)
