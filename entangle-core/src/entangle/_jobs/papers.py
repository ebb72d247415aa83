"""What a session's jobs read and write, and where that lies."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import b64encode
from datetime import datetime
from typing import TYPE_CHECKING, Any

from entangle._log import Log
from entangle.errors import JobError

from . import packing, program
from .session import OWNER, Session
from .uploads import Uploads

if TYPE_CHECKING:
    from .store import Store, StoredObject
    from .ticket import Ticket

log = Log("entangle.jobs")

_HEAD = 8192  # bytes that the facts of a call may take
_SLACK = 30.0  # seconds that a body may run beyond its timeout before its job ends it


class Papers:
    """Writes payloads into a store, and cleans up there. Thread-safe.

    Args:
        session: The names.
        store: The store; None if there is none: then all has to be small.
        place: The name of the place, for messages.
        has_program: Whether jobs have their program already.
        numbered: Whether jobs number what they print.
    """

    def __init__(
        self,
        session: Session,
        store: Store | None,
        place: str,
        *,
        has_program: bool = False,
        numbered: bool = False,
    ) -> None:
        self.session = session
        self.store = store
        self._place = place
        self._has_program = has_program
        self._numbered = numbered
        self._lock = threading.Lock()
        self._opened = False
        self._warned = False
        self._renew = 0.0  # when to say again whose all is
        self._kept: set[str] = set()
        self._uploads: Uploads | None = None
        if store is not None:
            prefix = f"{session.prefix}shared-"
            self._uploads = Uploads(store, prefix, session.lifetime)

    def payload(self, ticket: Ticket, inline: int) -> bytes:
        """Return what a job is told, after its call was put where it finds it.

        Args:
            ticket: The job.
            inline: How many bytes the place carries by itself.

        Raises:
            JobError: It is too large, and there is no store.
            Exception: What the store raises.
        """
        packed = ticket.packed
        if packed is None:
            raise RuntimeError(f"the call of {ticket.name} was already uploaded")
        if self.store is not None:
            self._open(self.store)
            ticket.until = self.store.good_until()
            self._warn_early(ticket)
        facts = self._facts(ticket)
        store, uploads = self.store, self._uploads
        told: dict[str, Any] = {}
        if not self._has_program and uploads is not None:
            told["program"] = uploads.place(program.archive())
        if packed.nbytes * 4 // 3 + _HEAD <= inline:
            document = packing.document(packed, facts, None)
            return _line({**told, "call": {"data": b64encode(document).decode()}})
        if store is None or uploads is None:
            reason = (
                f"its call has {packed.nbytes:,} bytes, and {inline:,} can be sent "
                "without a store: name one that both sides reach"
            )
            raise JobError(reason, node=ticket.call.name, place=self._place)
        document = packing.document(packed, facts, uploads.place)
        key = self._key(ticket, "call")
        store.put(key, document)
        pointer = {
            "url": store.read_url(key, self.session.lifetime),
            "sha256": hashlib.sha256(document).hexdigest(),
        }
        return _line({**told, "call": pointer})

    def news(self) -> list[StoredObject]:
        """Return what jobs have written."""
        return [] if self.store is None else [*self.store.list(self.session.news())]

    def job_of(self, key: str) -> tuple[str, str]:
        """Return of which job an object is news, and of what kind."""
        name, _, kind = key.removeprefix(self.session.news()).rpartition(".")
        return name, kind

    def answer_key(self, ticket: Ticket) -> str:
        """Return the key under which a job leaves its answer."""
        return f"{self.session.news()}{ticket.name}.answer"

    def where(self, ticket: Ticket) -> str:
        """Name a job's answer for people."""
        key = self.answer_key(ticket)
        return "" if self.store is None else self.store.where(key)

    def discard(self, ticket: Ticket) -> None:
        """Remove what is of one job alone."""
        if self.store is not None and self._opened:
            started = f"{self.session.news()}{ticket.name}.started"
            keys = (self._key(ticket, "call"), started, self.answer_key(ticket))
            self.store.delete(keys)

    def keep(self, ticket: Ticket) -> None:
        """Leave a job's answer where it lies, for who can fetch it."""
        self._kept.add(self.answer_key(ticket))

    def close(self) -> None:
        """Remove all that the session has written, but for answers to be kept."""
        if self.store is None or not self._opened:
            return
        owner = f"{self.session.prefix}{OWNER}"
        keys = {found.key for found in self.store.list(self.session.prefix)}
        self.store.delete(keys - self._kept - {owner})
        if not self._kept & keys:
            # Last: what says whose the others are.
            self.store.delete([owner])

    def _open(self, store: Store) -> None:
        now = time.time()
        with self._lock:
            if now >= self._renew:
                # First: whatever is there later can be known as this process's.
                store.put(f"{self.session.prefix}{OWNER}", self.session.record())
                self._opened = True
                self._renew = now + self.session.lifetime / 2

    def _warn_early(self, ticket: Ticket) -> None:
        """Say once, before a job is made, that it may run for longer than it can tell."""
        timeout = ticket.call.options.timeout
        over = ticket.expires
        if timeout is not None:
            over = min(over, time.time() + timeout + _SLACK)
        if over <= ticket.until:
            return
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            minutes = max(0.0, ticket.until - time.time()) / 60
            limit = "lifetime=" if timeout is None else "timeout="
            log.warning(
                "jobs of %s can leave their answers until %s only, for %.0f minutes: "
                "then the credentials expire that sign the addresses. By its %s a call "
                "of %s may run until %s, and its work is lost if it needs so long: use "
                "credentials that last longer, or limit it by timeout=",
                self._place,
                moment(ticket.until),
                minutes,
                limit,
                ticket.call.name,
                moment(over),
            )

    def _key(self, ticket: Ticket, kind: str) -> str:
        return f"{self.session.prefix}{ticket.name}.{kind}"

    def _facts(self, ticket: Ticket) -> dict[str, Any]:
        """Return what a job has to know besides its call."""
        options, store = ticket.call.options, self.store
        seconds = max(1.0, ticket.expires - time.time())
        answer = started = None
        if store is not None:
            answer = store.write_url(self.answer_key(ticket), seconds)
            key = f"{self.session.news()}{ticket.name}.started"
            started = store.write_url(key, seconds)
        return {
            "run": ticket.run.run,
            "job": ticket.name,
            "attempt": ticket.attempt,
            "key": ticket.run.key.hex(),
            "answer": answer,
            "started": started,
            "expires": ticket.expires,
            "limit": None if options.timeout is None else options.timeout + _SLACK,
            "env": dict(options.env or ()),
            "cwd": options.cwd,
            "nice": options.nice,
            "preload": list(options.preload or ()),
            "numbered": self._numbered,
        }


def moment(seconds: float) -> str:
    """Return a time since the epoch for people."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts).encode()
