"""One call on its way through a place, as its desk sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .printed import Printed

if TYPE_CHECKING:
    from entangle._seam.call import Call

    from .job import JobState
    from .packing import Packed
    from .session import RunKey

QUEUED: Final = "queued"  # to be created when it is due
CREATING: Final = "creating"
THERE: Final = "there"  # the place has it
ENDING: Final = "ending"  # the place was told to end it
ANSWERED: Final = "answered"  # to be fetched when it is due
FETCHING: Final = "fetching"


class Ticket:
    """A call and what is known of its job. Changed under the desk's lock only.

    Attributes:
        call: The call.
        packed: The call, encoded; None once it was uploaded.
        run: The run that it belongs to.
        name: The job's name.
        attempt: Which attempt of the call this is.
        given: When it was given to the executor, as of the desk's clock.
        created: When its job was created, as of that clock; None before.
        expires: When the job has to have ended, in seconds since the epoch.
        stage: How far it is.
        due: When to go on with it, where the stage says so.
        handle: The place's handle; empty until the job is created.
        begun: Whether its start was told.
        waits: Whether the place says that it has not begun.
        said: Why, as the place says it.
        abandoned: Whether nobody waits for what is done for it.
        unwanted: Whether it is to be ended as soon as it is created.
        ended: What the place says of its end.
        known: Whether the place has said that it has it.
        unknown: Since when the place was asked and has not.
        answer: Its answer, where the place has given that at once.
        printed: What it prints.
        troubles: How often going on with it has failed.
        last: The last such failure.
    """

    def __init__(
        self, call: Call, packed: Packed, run: RunKey, name: str, given: float
    ) -> None:
        self.call = call
        self.packed: Packed | None = packed
        self.run = run
        self.name = name
        self.attempt = int(getattr(call, "attempt", 1))
        self.given = given
        self.created: float | None = None
        self.expires = 0.0
        self.stage = QUEUED
        self.due = given
        self.handle = ""
        self.begun = False
        self.waits = True
        self.said = ""
        self.abandoned = False
        self.unwanted = False
        self.ended: JobState | None = None
        self.known = False
        self.unknown: float | None = None
        self.answer: bytes | None = None
        self.printed = Printed(call)
        self.troubles = 0
        self.last: Exception | None = None

    @property
    def resource(self) -> str:
        """What to call the job in messages."""
        return self.handle or self.name
