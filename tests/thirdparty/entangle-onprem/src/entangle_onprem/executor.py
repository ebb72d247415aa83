"""The executor: where a call becomes a job."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from entangle.backend import Capabilities, Executor

from . import service
from .link import Link

if TYPE_CHECKING:
    from entangle.backend import Call

LOCAL = "local"


class OnpremExecutor(Executor):
    """Runs each call as a job of a queue on this machine, in a process of its own.

    Functions and values may be defined anywhere, as for ``@process``; jobs find the
    caller's modules and stand in its folder. The caller's environment variables are
    not theirs: they have the daemon's.

    Nothing is started before the first call. Use it in a ``with`` statement, or call
    `shutdown`: what is left then is awaited, unless ``wait`` is false, and no thread,
    process or file remains. A private spool also ends with a caller that is killed.

    Args:
        host: The path of a spool that a daemon of this machine serves, or ``"local"``
            for a private one, whose daemon is started and ended by the executor.
        slots: How many of its jobs run at once, at most. A spool of many has a limit
            for all of them, too.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kill=True, started=True, output=True
    )

    def __init__(self, *, host: str = LOCAL, slots: int = 2) -> None:
        super().__init__()
        self.check_options(host=host, slots=slots)
        self._host = host
        self._slots = slots
        self._guard = threading.Lock()
        self._links: list[Link] = []
        self._closed = False

    @classmethod
    def check_options(cls, *, host: str = LOCAL, slots: int = 2) -> None:
        """Refuse what types can't tell; called when the decorator is used.

        Raises:
            ValueError: An option has an unusable value.
        """
        if not host:
            raise ValueError("host must be the path of a spool, or 'local'")
        if slots < 1:
            raise ValueError(f"slots must be at least 1, not {slots}")

    def start(self, call: Call) -> None:
        """Queue the call.

        Raises:
            UnpicklableError: The function or an argument can't be sent.
            SpoolError: No daemon serves the spool.
            RuntimeError: After `shutdown`.
        """
        # Where a daemon has died meanwhile, the next attempt makes a new link.
        while not self._link().submit(call):
            pass

    def cancel(self, call: Call, grace: float) -> None:
        """Take the call back, or end its process with all that it has started."""
        del grace  # the daemon kills at once
        with self._guard:
            links = list(self._links)
        for link in links:
            link.cancel(call)

    def shutdown(
        self,
        wait: bool = True,
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls; end what was started for them when the last is over.

        Args:
            wait: Return when all of that is done. In a callback of one of its futures,
                it returns at once.
            cancel_futures: Cancel the calls that have not begun.
        """
        with self._guard:
            self._closed = True
            links = list(self._links)
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        for link in links:
            link.close(take_back=cancel_futures)
        if wait:
            for link in links:
                link.join()

    def _link(self) -> Link:
        """Return the link that takes calls."""
        with self._guard:
            if self._closed:
                raise RuntimeError("cannot start calls after shutdown")
            self._links = [link for link in self._links if not link.over()]
            if not self._links or not self._links[-1].open():
                self._links.append(self._connect())
            return self._links[-1]

    def _connect(self) -> Link:
        if self._host == LOCAL:
            found = service.start(self._slots)
        else:
            found = service.find(Path(self._host).absolute())
        try:
            return Link(found, self._slots)
        except BaseException:
            found.close()
            raise

    def __repr__(self) -> str:
        """Show where its jobs go."""
        return f"<{type(self).__name__} host={self._host!r} slots={self._slots}>"
