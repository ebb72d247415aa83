"""What is left of clients that are gone: jobs, and objects in a store."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from entangle._seam.extensions import Leftover

from .session import NEWS, OWNER, ROOT, nobodys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .job import FoundJob
    from .store import Store, StoredObject


def jobs(
    found: Iterable[FoundJob], older_than: float, delete: Callable[[str], object]
) -> Iterator[Leftover]:
    """Yield the jobs that are nobody's.

    Args:
        found: Those that exist.
        older_than: Only what is older than so many seconds.
        delete: Ends and removes one.
    """
    now = time.time()
    for job in found:
        if job.age >= older_than and nobodys(job.tags, now):
            yield Leftover("job", job.handle, job.age, partial(delete, job.handle))


def objects(store: Store, older_than: float) -> Iterator[Leftover]:
    """Yield what sessions that are nobody's have left in a store.

    Args:
        store: The store.
        older_than: Only what is older than so many seconds.
    """
    now = time.time()
    sessions: dict[str, list[StoredObject]] = {}
    for found in store.list(ROOT):
        name, inside, _ = found.key.removeprefix(ROOT).partition("/")
        if inside:
            sessions.setdefault(name, []).append(found)
    for name, there in sessions.items():
        prefix = f"{ROOT}{name}/"
        record = _record(store, prefix)
        if record is None:
            # The record is written first and removed last: what has none was written
            # when its session was removed already, by a job that was about to end. All
            # else is somebody's own, who likes the name.
            several = [each for each in there if _late(name, each.key)]
            remove = partial(store.delete, [each.key for each in several])
        elif nobodys(record, now):
            several = there
            remove = partial(_remove, store, prefix)
        else:
            continue
        age = max((found.age for found in several), default=0.0)
        if several and age >= older_than:
            yield Leftover("objects", store.where(prefix), age, remove)


def _late(name: str, key: str) -> bool:
    """Tell whether a key is one that a job of a session writes to."""
    wanted = rf"{ROOT}{re.escape(name)}/{NEWS}entangle-{re.escape(name)}-[0-9]+"
    return re.fullmatch(rf"{wanted}\.(?:answer|started)", key) is not None


def _record(store: Store, prefix: str) -> dict[str, str] | None:
    """Return what says whose a session's objects are; None if nothing does."""
    try:
        data = store.get(f"{prefix}{OWNER}")
    except KeyError:
        return None
    try:
        record: Any = json.loads(data)
        return {str(name): str(value) for name, value in record.items()}
    except (ValueError, AttributeError):
        return {}


def _remove(store: Store, prefix: str) -> None:
    record = f"{prefix}{OWNER}"
    store.delete([each.key for each in store.list(prefix) if each.key != record])
    store.delete([record])
