"""What the jobs of one executor have in common: names, tags, keys, an owner."""

from __future__ import annotations

import itertools
import json
import re
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple

from .owner import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from entangle._seam.call import Call

ROOT: Final = "entangle/"
"""What the keys of all objects begin with."""

OWNER: Final = "owner.json"
NEWS: Final = "news-"
RUN, OWNED_BY, EXPIRES, TASK = (
    "entangle-run",
    "entangle-owner",
    "entangle-expires",
    "entangle-task",
)


class RunKey(NamedTuple):
    """What the jobs of one run sign with.

    Attributes:
        run: The run's name.
        key: The secret, which travels in payloads only.
    """

    run: str
    key: bytes


class Session:
    """Names and secrets of one executor's jobs. Thread-safe.

    Attributes:
        name: The session's own name.
        prefix: What the keys of its objects begin with.
        owner: This process.
        lifetime: Seconds until what is made expires.
    """

    def __init__(self, lifetime: float) -> None:
        self.name = secrets.token_hex(6)
        self.prefix = f"{ROOT}{self.name}/"
        self.owner = Owner.this()
        self.lifetime = lifetime
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._runs: weakref.WeakKeyDictionary[object, RunKey] = (
            weakref.WeakKeyDictionary()
        )
        self._alone = self._made()

    def run_of(self, call: Call) -> RunKey:
        """Return the run that a call belongs to; calls without one share one."""
        run = call.run_of()
        if run is None:
            return self._alone
        with self._lock:
            found = self._runs.get(run)
            if found is None:
                found = self._runs[run] = self._made()
            return found

    def next_name(self) -> str:
        """Return a name that no other job has."""
        return f"entangle-{self.name}-{next(self._numbers)}"

    def tags(self, run: RunKey, task: str, expires: float) -> dict[str, str]:
        """Return what is written on everything that is made for a job."""
        return {RUN: run.run, **owner_tags(task, expires)}

    def record(self) -> bytes:
        """Return what says, among the session's objects, whose they are.

        It is good for twice the lifetime, and renewed in each half of it: so it
        outlives all jobs.
        """
        expires = int(time.time() + 2 * self.lifetime)
        facts = {OWNED_BY: str(self.owner), EXPIRES: str(expires)}
        return json.dumps(facts).encode()

    def news(self) -> str:
        """Return what the keys of all begin with that jobs write."""
        return f"{self.prefix}{NEWS}"

    def _made(self) -> RunKey:
        return RunKey(secrets.token_hex(6), secrets.token_bytes(32))


def owner_tags(task: str, expires: float) -> dict[str, str]:
    """Return what a place writes on what it makes, so that its owner is known.

    That is this process. By them `JobExecutor.leftover_jobs` finds, in what `find`
    yields, what is nobody's any more, also what is no job.

    Args:
        task: The name of the task that it is made for.
        expires: When it has to be gone, in seconds since the epoch.
    """
    return {
        OWNED_BY: str(Owner.this()),
        EXPIRES: str(int(expires)),
        TASK: re.sub(r"[^A-Za-z0-9_.-]", "-", task)[:63].strip("-_.") or "task",
    }


def nobodys(tags: Mapping[str, str], now: float) -> bool:
    """Tell whether what carries such tags has lost its owner, or is overdue."""
    owner = Owner.parsed(tags.get(OWNED_BY, ""))
    if owner is not None and owner.gone():
        return True
    try:
        return float(tags[EXPIRES]) < now
    except (KeyError, ValueError):
        return False
