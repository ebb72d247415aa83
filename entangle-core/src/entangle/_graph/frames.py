"""The frame of a caller: where in the program a call was written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# What inspect.currentframe calls too; importing inspect would cost the import budget.
getframe: Final[Callable[[int], FrameType]] = sys._getframe  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
