"""Containers of programs that are gone."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entangle.hooks import Leftover

from . import _labels
from ._engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator


def leftovers(older_than: float) -> Iterator[Leftover]:
    """Yield what is nobody's any more; finding it removes nothing.

    Args:
        older_than: Only what is older than so many seconds.

    Raises:
        DockerError: the engine can't be asked.
    """
    engine = Engine()
    try:
        with engine.asked():
            found: list[dict[str, Any]] = engine.api.containers(
                all=True, filters={"label": _labels.CALLER}
            )
    finally:
        engine.close()
    now = time.time()
    for container in found:
        labels: dict[str, str] = container.get("Labels") or {}
        age = _labels.age(labels, now)
        if _labels.abandoned(labels, now) and age >= older_than:
            name = str((container.get("Names") or ["?"])[0]).lstrip("/")
            remove = partial(_remove, str(container["Id"]), labels)
            yield Leftover("container", name, age, remove)


def _remove(container: str, labels: dict[str, str]) -> None:
    engine = Engine()
    try:
        engine.remove(container)
    finally:
        engine.close()
    door = Path(labels.get(_labels.FOLDER, ""))
    # What a label says is not to be trusted with just any folder.
    ours = door.parent.name.startswith("entangle-docker-") and door.name == "door"
    if ours and os.path.abspath(door.parent.parent) == tempfile.gettempdir():
        shutil.rmtree(door.parent, ignore_errors=True)
