"""The folder in which the logs of runs are kept, and the runs in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections import Counter
from typing import Final

FOLDER: Final = os.path.join(".entangle", "runs")
LOG: Final = "events.jsonl"
IGNORED: Final = ".gitignore"
KEPT: Final = 100  # runs; older ones are removed when a new one begins
LAST: Final = "last"

_SECOND: Final = len("20260101-000000")
_LONGEST: Final = 1 << 20  # bytes of a first line
_RUN: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")


def runs(folder: str) -> list[str]:
    """Return the runs in a folder, the oldest first.

    Raises:
        OSError: it can't be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = [name for name in names if _RUN.fullmatch(name)]
    seconds = Counter(name[:_SECOND] for name in found)

    def begun(name: str) -> tuple[str, float, str]:
        alone = seconds[name[:_SECOND]] == 1
        return name[:_SECOND], 0.0 if alone else _begun(folder, name), name

    return sorted(found, key=begun)


def path_of(folder: str, run: str) -> str:
    """Return where the log of a run is."""
    return os.path.join(folder, run, LOG)


def under_way(folder: str, run: str) -> bool:
    """Tell whether somebody still writes the log of a run."""
    try:
        descriptor = os.open(path_of(folder, run), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def prune(folder: str, kept: int = KEPT) -> None:
    """Remove all but the last runs; those under way, and what is not ours, stay."""
    with contextlib.suppress(OSError):
        for run in runs(folder)[:-kept]:
            if not under_way(folder, run):
                with contextlib.suppress(OSError):
                    os.unlink(path_of(folder, run))
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(folder, run))


def _begun(folder: str, run: str) -> float:
    """Return when a run has begun, to tell it from others of that second."""
    from .format import NewerLogError, read_header

    try:
        with open(path_of(folder, run), "rb") as file:
            header = read_header(file.readline(_LONGEST))
    except (OSError, NewerLogError):
        return 0.0
    return float(header["time"]) if header is not None else 0.0
