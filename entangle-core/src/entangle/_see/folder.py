"""The folder in which the logs of runs are kept, and the runs in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import Final

FOLDER: Final = os.path.join(".entangle", "runs")
LOG: Final = "events.jsonl"
IGNORED: Final = ".gitignore"
KEPT: Final = 100  # runs; older ones are removed when a new one begins
LAST: Final = "last"

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
    # Those of the same second in the order of their logs.
    found = [name for name in names if _RUN.fullmatch(name)]
    return sorted(found, key=lambda name: (name[:15], _begun(folder, name), name))


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


def _begun(folder: str, run: str) -> int:
    try:
        return os.stat(os.path.join(folder, run)).st_ctime_ns
    except OSError:
        return 0
