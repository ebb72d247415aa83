"""The workers that exist: made when needed, kept warm, ended when unused."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from entangle.errors import WorkerStartError

from .worker import WorkerProcess
from .zygotes import ZygoteProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .hub import Hub, Timer
    from .output import Printer, Source
    from .segments import Segments
    from .snapshot import Snapshot
    from .worker import Key
    from .zygotes import Listener


_PAUSE = 0.001  # seconds between the answer of a fresh process and its end


class Fleet:
    """Owns all workers and zygotes of this process. Inside the monitor only."""

    def __init__(
        self,
        hub: Hub,
        printer: Printer,
        listener: Listener,
        readable: Callable[[WorkerProcess, int], None],
        idle_seconds: float,
        segments: Segments,
    ) -> None:
        self._hub = hub
        self._segments = segments
        self._printer = printer
        self._listener = listener
        self._readable = readable
        self._idle_seconds = idle_seconds
        self._workers: dict[int, WorkerProcess] = {}
        self._idle: dict[Key, list[WorkerProcess]] = {}
        self._zygotes: dict[tuple[str, ...], ZygoteProcess] = {}
        self._leaving: set[ZygoteProcess] = set()
        self._spent: list[WorkerProcess] = []
        self._stalled: list[tuple[WorkerProcess, Source]] = []
        printer.on_room.append(partial(hub.post, self.read_stalled))
        self._count = 0
        self._trimming: Timer | None = None

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._workers.values()))

    def get(self, number: int) -> WorkerProcess | None:
        """Return the worker of a number, while it exists."""
        return self._workers.get(number)

    def take(self, key: Key, snapshot: Snapshot) -> WorkerProcess:
        """Return an idle worker, the one used last, or a new one.

        Args:
            key: Its kind.
            snapshot: The state that the first of its calls needs.

        Raises:
            OSError, WorkerStartError: there is none, and none can be made.
        """
        idle = self._idle.get(key)
        if idle:
            worker = idle.pop()
            if not idle:
                del self._idle[key]
            return worker
        return self._make(key, snapshot)

    def spare(self, key: Key, snapshot: Snapshot | None, most: int) -> None:
        """Have a worker ready for the next call that wants one of its own.

        Args:
            key: Its kind.
            snapshot: The state that the call will need; None for that of the last.
            most: How many may be ready.
        """
        if self._idle_seconds and len(self._idle.get(key, ())) < most:
            try:
                worker = self._make(key, snapshot)
            except (OSError, WorkerStartError):
                return  # whoever needs it will meet the same, and tell
            self.rest(worker)

    def _make(self, key: Key, snapshot: Snapshot | None) -> WorkerProcess:
        zygote = self.zygote(key.preload, at_once=key.fresh)
        if key.fresh:
            # It has no leisure: what it lacks each of its workers would import anew.
            zygote.hurry()
        if snapshot is not None:
            zygote.adopt(snapshot)
        self._count += 1
        worker = WorkerProcess(
            self._count, key, zygote, self._hub, self._printer, self._segments
        )
        self._workers[worker.number] = worker
        worker.handler = partial(self._readable, worker)
        self._hub.watch(worker.socket.fileno(), worker.handler)
        for source in worker.sources:
            self._hub.watch(source.descriptor, partial(self._printed, worker, source))
        return worker

    def zygote(
        self, preload: tuple[str, ...], *, at_once: bool = False
    ) -> ZygoteProcess:
        """Return the zygote whose workers hold some modules; made if need be.

        Args:
            preload: The modules.
            at_once: Whether its first workers hold the standard ones, too.

        Raises:
            OSError, WorkerStartError: it can't be made.
        """
        zygote = self._zygotes.get(preload)
        if zygote is None:
            zygote = ZygoteProcess(self._hub, self._listener, preload, at_once=at_once)
            self._zygotes[preload] = zygote
        return zygote

    def rest(self, worker: WorkerProcess) -> None:
        """Keep a worker that has nothing to do, or end it if it is not to be reused."""
        if worker.number not in self._workers or worker.killed:
            return
        if worker.key.fresh and worker.used and not worker.broken:
            self._spent.append(worker)
            if len(self._spent) == 1:
                # What has waited for the answer goes first: forking and ending a
                # process take longer than most calls.
                self._hub.at(time.monotonic() + _PAUSE, self._replace)
            return
        if worker.dirty or worker.broken:
            worker.kill()
            return
        idle = self._idle.setdefault(worker.key, [])
        if worker not in idle:
            worker.idle_since = time.monotonic()
            idle.append(worker)
            if self._trimming is None:
                self._trim_at(worker.idle_since + self._idle_seconds)

    def _replace(self) -> None:
        """End the workers that have had their only call; fork one ahead for the next."""
        spent, self._spent = self._spent, []
        for worker in spent:
            worker.dismiss()
        for worker in {worker.key: worker for worker in spent}.values():
            if not worker.key.cpus:
                self.spare(worker.key, None, 1)

    def end_idle(self) -> bool:
        """End all idle workers, to make room; False if there are none."""
        found = bool(self._idle)
        for idle in self._idle.values():
            for worker in idle:
                worker.kill()
        self._idle.clear()
        return found

    def forget(self, worker: WorkerProcess) -> None:
        """Let go of a worker that is gone."""
        del self._workers[worker.number]
        idle = self._idle.get(worker.key, [])
        if worker in idle:
            idle.remove(worker)
            if not idle:
                del self._idle[worker.key]
        worker.release()
        if worker.zygote in self._leaving:
            self._let_leave(worker.zygote)

    def current(self, zygote: ZygoteProcess) -> bool:
        """Tell whether new workers of its kind come from a zygote."""
        return self._zygotes.get(zygote.preload) is zygote

    def retire(self, zygote: ZygoteProcess) -> None:
        """Have a zygote leave when its workers have; the next worker gets a new one."""
        if self.current(zygote):
            del self._zygotes[zygote.preload]
            self._leaving.add(zygote)
            self._let_leave(zygote)

    def _let_leave(self, zygote: ZygoteProcess) -> None:
        if all(worker.killed or worker.zygote is not zygote for worker in self):
            zygote.retire()

    def forget_zygote(self, zygote: ZygoteProcess) -> list[WorkerProcess]:
        """Let go of a zygote that is gone; return the workers that went with it."""
        if self.current(zygote):
            del self._zygotes[zygote.preload]
        self._leaving.discard(zygote)
        return [worker for worker in self if worker.zygote is zygote]

    def close(self) -> None:
        """End all workers and zygotes, and wait for their end."""
        if self._trimming is not None:
            self._trimming.cancel()
        for idle in self._idle.values():
            for worker in idle:
                worker.dismiss()
        self._idle.clear()
        for worker in self:
            worker.kill()
        for zygote in (*self._zygotes.values(), *self._leaving):
            zygote.close()
        self._zygotes.clear()
        self._leaving.clear()
        for worker in self:
            self.forget(worker)

    def descriptors(self) -> Iterator[int]:
        """Yield what a forked child of this process has to close, for good."""
        for zygote in (*self._zygotes.values(), *self._leaving):
            yield from zygote.disown()
        for worker in self._workers.values():
            yield from worker.disown()

    def pids(self) -> list[int]:
        """Return the process ids of all zygotes and workers."""
        return [
            *(zygote.pid for zygote in self._zygotes.values()),
            *(worker.pid for worker in self._workers.values() if worker.pid),
        ]

    def read_stalled(self) -> None:
        """Go on reading what tasks print: there is room again."""
        stalled, self._stalled = self._stalled, []
        for worker, source in stalled:
            if source.descriptor >= 0:
                self._hub.watch(
                    source.descriptor, partial(self._printed, worker, source)
                )

    def _printed(self, worker: WorkerProcess, source: Source, _mask: int) -> None:
        if self._printer.full():
            # Then the pipe fills and the task waits, as it would at a terminal.
            self._hub.unwatch(source.descriptor)
            self._stalled.append((worker, source))
            return
        if not source.read():
            # Nobody but the worker holds the other end: a task has closed it.
            self._hub.unwatch(source.descriptor)
            worker.dirty = True

    def _trim_at(self, moment: float) -> None:
        self._trimming = self._hub.at(moment, self._trim)

    def _trim(self) -> None:
        """End workers that have been idle for long, then zygotes without workers."""
        self._trimming = None
        limit = time.monotonic() - self._idle_seconds
        oldest = None
        for key, idle in list(self._idle.items()):
            kept: list[WorkerProcess] = []
            for worker in idle:
                if worker.idle_since > limit:
                    kept.append(worker)
                    first = worker.idle_since
                    oldest = first if oldest is None else min(oldest, first)
                else:
                    worker.dismiss()
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
        if oldest is not None:
            self._trim_at(oldest + self._idle_seconds)
        elif all(worker.killed for worker in self._workers.values()):
            # Busy ones come here again when they have rested.
            for zygote in list(self._zygotes.values()):
                self.retire(zygote)
