"""The frame of a caller: where in the program a call was written."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

# What inspect.currentframe calls too; importing inspect would cost the import budget.
getframe: Final[Callable[[int], FrameType]] = sys._getframe  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def position(code: CodeType, lasti: int) -> tuple[int, int | None]:
    """Find the line and, where it is known, the column of an instruction."""
    positions = islice(code.co_positions(), lasti // 2, None)
    line, _, column, _ = next(positions, (None, None, None, None))
    return line or code.co_firstlineno, column
