"""One executor's link with one spool, from its first job to its last.

Data flow: `submit` and `cancel` write files, on any thread. The watcher, a thread of
the link's own, hears the bell, reads what the daemon and the jobs have written, and
makes all reports but one (a job that was taken back is reported by who takes it). The
lock covers the table of jobs only: reports may run code of the user's.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import threading
from functools import partial
from typing import TYPE_CHECKING

from entangle.backend import pack_call

from . import spool
from .job import header
from .ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Container

    from entangle.backend import Call

    from .service import Service

log = logging.getLogger("entangle_onprem")

_OFTEN = 50  # ms between two looks at what running jobs print: files ring no bell


class Link:
    """Hands calls to a spool and reports what becomes of them. Thread-safe."""

    def __init__(self, service: Service, slots: int) -> None:
        """Join a spool; the service is the link's to close from then on."""
        self._service = service
        self._folder, self._bell = spool.register(service.folder, slots)
        self._lock = threading.Lock()
        self._jobs: dict[Call, Ticket] = {}
        self._count = 0
        self._closing = False
        self._watcher = threading.Thread(
            target=self._watch, name=f"onprem-{self._folder.name}", daemon=True
        )
        try:
            self._watcher.start()
        except BaseException:
            self._bell.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def open(self) -> bool:
        """Tell whether it takes calls: not if its daemon has ended."""
        with self._lock:
            return self._open()

    def over(self) -> bool:
        """Tell whether it has left the spool, and nothing of it remains."""
        return not self._watcher.is_alive()

    def join(self) -> None:
        """Wait until it is over; on its own thread, in a report, nothing is waited for."""
        if threading.current_thread() is not self._watcher:
            self._watcher.join()

    def submit(self, call: Call) -> bool:
        """Queue a call; False if it takes none.

        Raises:
            UnpicklableError: The call can't be sent.
            OSError: The spool can't be written to.
        """
        payload = pack_call(call)
        with self._lock:
            if not self._open():
                return False
            self._count += 1
            ticket = self._jobs[call] = Ticket(call, self._folder, self._count)
        try:
            spool.write(ticket.path("job"), header(), payload)
        except BaseException:
            self._forget(ticket)
            raise
        spool.ring(self._service.folder)
        return True

    def cancel(self, call: Call) -> None:
        """Take a call back, or have its process ended; nothing if it is over."""
        with self._lock:
            ticket = self._jobs.get(call)
        if ticket is None or self._take_back(ticket):
            return
        try:
            spool.write(ticket.path("cancel"))
        except FileNotFoundError:
            return  # all is over
        spool.ring(self._service.folder)

    def close(self, *, take_back: bool) -> None:
        """Take no more calls, and leave the spool when the last is over.

        Args:
            take_back: Cancel what has not begun.
        """
        with self._lock:
            self._closing = True
        if take_back:
            for ticket in self._tickets():
                self._take_back(ticket)
        spool.ring(self._folder)

    def _open(self) -> bool:
        return not self._closing and not self._service.ended()

    def _take_back(self, ticket: Ticket) -> bool:
        """Cancel a job that waits; False if the daemon was faster."""
        try:
            ticket.path("job").unlink()
        except FileNotFoundError:
            return False
        if self._forget(ticket):
            ticket.call.cancelled("already done")
            spool.ring(self._folder)  # it may have been the last
        return True

    def _forget(self, ticket: Ticket) -> bool:
        """Take a job off the table; False if somebody else did, whose it is to report."""
        with self._lock:
            return self._jobs.pop(ticket.call, None) is not None

    def _tickets(self) -> list[Ticket]:
        with self._lock:
            return list(self._jobs.values())

    # -- on the watcher ----------------------------------------------------------

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.register(self._service.pidfd, select.POLLIN)
        try:
            while not self._finished():
                begun = any(ticket.begun for ticket in self._tickets())
                poll.poll(_OFTEN if begun else None)
                self._bell.clear()
                # Asked before the folder is read: nothing can be added after that.
                lost = self._service.ended()
                if lost:
                    with self._lock:
                        self._closing = True
                # Likewise: a ticket that is made later may have files that are not seen.
                tickets = self._tickets()
                names = frozenset(os.listdir(self._folder))
                for ticket in tickets:
                    self._look(ticket, names, lost=lost)
        finally:
            self._leave()

    def _finished(self) -> bool:
        with self._lock:
            return self._closing and not self._jobs

    def _look(self, ticket: Ticket, names: Container[str], *, lost: bool) -> None:
        """Report what is new of one job, its end last."""
        try:
            end = ticket.look(names, lost=lost)
        except Exception as error:
            log.exception("job %d in %s", ticket.number, self._folder)
            end = partial(ticket.call.failed, error)
        if end is None or not self._forget(ticket):
            return
        # Before the report: who hears it may expect that nothing is left.
        ticket.discard()
        try:
            end()
        except BaseException as error:
            ticket.call.failed(error)

    def _leave(self) -> None:
        with self._lock:
            self._closing = True
        self._bell.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        spool.ring(self._service.folder)
        self._service.close()
