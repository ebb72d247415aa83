"""A client of a job place that is killed at a step of its own choosing.

    python -m entangle.testing.client SOURCE STEP LIFETIME FOLDER

`SOURCE` is a program that binds ``executor``. Its only job leaves a heartbeat in the
folder, if there is one, for as long as nobody ends it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from .bodies import heartbeat, same
from .fakes import RecordedCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle.backend import JobExecutor

STEPS: Final = (
    "first object",
    "before create",
    "after create",
    "running",
    "before fetch",
    "before delete",
)
"""Where the client dies; the job runs on from the third on."""

LONG: Final = 300.0  # seconds, if nobody ends it


def die(*_: Any, **__: Any) -> Any:
    """End this process as nobody expects."""
    os.kill(os.getpid(), signal.SIGKILL)


def after(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does it and dies."""

    def doing(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        die()

    return doing


def main(source: str, step: str, lifetime: str, folder: str) -> None:
    """Be the client."""
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the author's own
    executor: JobExecutor = names["executor"]
    setattr(executor, "_JobExecutor__lifetime", float(lifetime))  # noqa: B010 - of the kit's own
    replaced: Any = executor
    store: Any = executor.store()
    if step == "first object" and store is not None:
        store.put = after(store.put)
        replaced.store = lambda: store
    elif step in {"first object", "before create"}:
        replaced.create = die
    elif step == "after create":
        replaced.create = after(executor.create)
    elif step == "before fetch":
        replaced.fetch = die
    elif step == "before delete":
        replaced.delete = die
    if step in {"before fetch", "before delete"}:
        call = RecordedCall(same, 1)
    else:
        beat = os.path.join(folder, "beat")
        call = RecordedCall(heartbeat, beat, beat + ".stop", LONG)
    executor.start(call)
    if step == "running":
        while not call.has_started():
            signal.sigtimedwait([], 0.01)
        die()
    call.end(LONG)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
