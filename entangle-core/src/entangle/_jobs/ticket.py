"""One call on its way through a place, as its desk sees it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .printed import Printed

if TYPE_CHECKING:
    from concurrent.futures import Future

    from entangle._seam.call import Call

    from .job import JobState
    from .packing import Packed
    from .session import RunKey

QUEUED: Final = "queued"  # to be created when it is due
CREATING: Final = "creating"
AWAITED: Final = "awaited"  # the place runs it, and answers without being asked
THERE: Final = "there"  # the place has it
ENDING: Final = "ending"  # the place was told to end it
ANSWERED: Final = "answered"  # to be fetched when it is due
FETCHING: Final = "fetching"


class Ticket:
    """A call and what is known of its job. Changed under the desk's lock only.

    Attributes:
        call: The call.
        packed: The call, encoded; None once the place has it.
        nbytes: The size of that.
        small: The size of those of its parts that don't lie by themselves in a store.
        version: The version of Python that it is for; None for any.
        run: The run that it belongs to.
        name: The job's name.
        attempt: Which attempt of the call this is.
        given: When it was given to the executor, as of the desk's clock.
        created: When its job was created, as of that clock; None before.
        expires: When the job has to have ended, in seconds since the epoch.
        until: When the addresses end that it was told, likewise, whatever it needs.
        stage: How far it is.
        due: When to go on with it, where the stage says so.
        handle: The place's handle; empty until the job is created.
        begun: Whether its start was told.
        waits: Whether the place says that it has not begun.
        said: Why, as the place says it.
        abandoned: Whether nobody waits for what is done for it.
        unwanted: Whether it is to be ended as soon as it is created.
        told: Whether the place has taken it that it is to end.
        ended: What the place says of its end.
        known: Whether the place has said that it has it.
        unknown: Since when the place was asked and has not.
        coming: Its answer, where the place gives that without being asked.
        answer: The answer that the place has given so.
        printed: What it prints.
        troubles: How often going on with it has failed.
        unfetched: Since when its answer can't be fetched, as of the desk's clock.
        last: The last such failure.
    """

    def __init__(
        self, call: Call, packed: Packed, run: RunKey, name: str, given: float
    ) -> None:
        self.call = call
        self.packed: Packed | None = packed
        self.nbytes, self.small = packed.nbytes, packed.small
        self.version = packed.version
        self.run = run
        self.name = name
        self.attempt = int(getattr(call, "attempt", 1))
        self.given = given
        self.created: float | None = None
        self.expires = 0.0
        self.until = math.inf
        self.stage = QUEUED
        self.due = given
        self.handle = ""
        self.begun = False
        self.waits = True
        self.said = ""
        self.abandoned = False
        self.unwanted = False
        self.told = False
        self.ended: JobState | None = None
        self.known = False
        self.unknown: float | None = None
        self.coming: Future[bytes] | None = None
        self.answer: bytes | None = None
        self.printed = Printed(call)
        self.troubles = 0
        self.unfetched: float | None = None
        self.last: Exception | None = None

    @property
    def resource(self) -> str:
        """What to call the job in messages."""
        return self.handle or self.name
