"""What becomes of our containers: a thread that reads the engine's events."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import _labels
from ._log import log

if TYPE_CHECKING:
    from ._engine import Engine


class Fate:
    """What is known of a container.

    Attributes:
        exit_code: What its first process has exited with; None while it runs.
        out_of_memory: Whether the kernel has ended processes in it for their memory.
        gone: Whether the engine has removed it.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.out_of_memory = False
        self.gone = False


class Watch:
    """Knows the fate of the containers of this process; used by any thread.

    Attributes:
        lost: Whether the engine tells no more.
    """

    def __init__(self, engine: Engine, caller: str) -> None:
        """Begin to watch.

        Raises:
            DockerError: the engine can't be asked.
        """
        self._changed = threading.Condition()
        self._fates: dict[str, Fate] = {}
        self._names: dict[str, str] = {}
        self._closed = False
        self.lost = False
        filters = {"type": "container", "label": f"{_labels.CALLER}={caller}"}
        with engine.asked():
            self._events: Any = engine.api.events(decode=True, filters=filters)
        self._thread = threading.Thread(
            target=self._watch, name="entangle-docker-events", daemon=True
        )
        self._thread.start()

    def expect(self, container: str, name: str) -> None:
        """Take note of a container before it is started.

        Args:
            container: Its id.
            name: What people call it.
        """
        with self._changed:
            self._fates[container] = Fate()
            self._names[container] = name

    def forget(self, container: str) -> None:
        """Keep nothing more of a container."""
        with self._changed:
            self._fates.pop(container, None)
            self._names.pop(container, None)

    def fate(self, container: str, patience: float, *, gone: bool = False) -> Fate:
        """Return what has become of a container.

        Args:
            container: Its id.
            patience: How many seconds to wait for its end.
            gone: Wait until it is removed, too.
        """
        deadline = time.monotonic() + patience
        with self._changed:
            fate = self._fates.get(container, Fate())
            while not self.lost and not (
                fate.gone if gone else fate.exit_code is not None
            ):
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return fate

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        # It may have ended by itself.
        with suppress(Exception):
            self._events.close()
        self._thread.join()

    def _watch(self) -> None:
        try:
            for event in self._events:
                self._take(event)
        except Exception as error:  # noqa: BLE001 - of several libraries under the SDK
            if not self._closed:
                log.debug("the engine's events have ended: %s", error)
        finally:
            with self._changed:
                self.lost = True
                self._changed.notify_all()
        if not self._closed:
            log.warning("the Docker Engine does not answer any more")

    def _take(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor") or {}
        container = str(actor.get("ID") or event.get("id") or "")
        action = str(event.get("Action") or event.get("status") or "")
        with self._changed:
            fate = self._fates.get(container)
            name = self._names.get(container, "")
            if fate is None:
                return
            if action == "die":
                with suppress(ValueError, TypeError, KeyError):
                    fate.exit_code = int(actor["Attributes"]["exitCode"])
            elif action == "oom":
                fate.out_of_memory = True
            elif action == "destroy":
                fate.gone = True
            self._changed.notify_all()
        if action == "pause":
            log.warning(
                "%s is paused: its calls wait until somebody unpauses it (`docker "
                "unpause %s`)",
                name,
                container[:12],
            )
        elif action == "unpause":
            log.warning("%s goes on", name)


