"""The errors of places elsewhere, which `entangle.errors` offers with all others."""

from __future__ import annotations

from entangle.errors import EntangleError, ProcessTerminatedException


class PlaceError(EntangleError):
    """A place where calls can't be run: nothing was begun there.

    Attributes:
        place: What the place is called.
        reason: What is wrong, and what to do about it.
        said: The last lines that it has said, if any.
    """

    def __init__(self, *, place: str, reason: str, said: str = "") -> None:
        """Build the message from the name of the place, the reason and its words."""
        text = f"no calls can be run in {place}: {reason}"
        if said:
            text += "\nThe last that it said:\n" + "\n".join(
                f"  {line}" for line in said.splitlines()
            )
        super().__init__(text)
        self.place = place
        self.reason = reason
        self.said = said


class JobError(EntangleError):
    """A job that can't be made, asked after, or whose answer can't be had.

    Attributes:
        node: The name of the task.
        place: Where the job was to run, or has.
        resource: The place's name for it, or for what is missing; empty if unknown.
        reason: What is wrong, and what to do about it.
    """

    def __init__(
        self, reason: str, *, node: str, place: str, resource: str = ""
    ) -> None:
        """Build the message from what is wrong and the names."""
        job = f"job {resource} of {node}" if resource else f"the job of {node}"
        super().__init__(f"{job} in {place}: {reason}")
        self.node = node
        self.place = place
        self.resource = resource
        self.reason = reason


class UntrustedResultError(JobError):
    """An answer that was not signed by the job it is said to be of.

    It was rejected unread: a pickle that somebody else has made can do anything.
    """


class JobLostError(ProcessTerminatedException):
    """A job has ended without an answer.

    Attributes:
        place: Where it ran.
        resource: The place's name for it.
    """

    def __init__(
        self,
        *,
        node: str,
        place: str,
        resource: str,
        reason: str = "",
        exit_code: int | None = None,
        out_of_memory: bool = False,
    ) -> None:
        """Build the message from what the place says of the job."""
        super().__init__(
            node=node,
            pid=0,
            exit_code=exit_code,
            out_of_memory=out_of_memory,
            detail=reason,
        )
        how = "has ended without an answer"
        if exit_code is not None:
            how += f", with exit code {exit_code}"
        if out_of_memory:
            how += ": its memory ran out; let the task use less, or ask for more"
        more = f": {reason}" if reason else ""
        self.args = (f"job {resource} of {node} in {place} {how}{more}",)
        self.place = place
        self.resource = resource


class PlaceBusyError(EntangleError):
    """A place takes no more jobs at the moment: it throttles, or a quota is used up.

    Raised by backends: the job is created later. A call sees it only when its place
    never had room.

    Attributes:
        reason: What the place says.
    """

    def __init__(self, reason: str) -> None:
        """Build the message from what the place says."""
        super().__init__(reason)
        self.reason = reason


class BudgetExceededError(EntangleError):
    """A run would have spent more than its budget.

    Attributes:
        limit: Which limit: ``'usd'``, ``'minutes'`` or ``'tasks'``.
        allowed: How much was allowed.
        spent: How much was spent.
        reason: What was not started, or was ended.
    """

    def __init__(self, limit: str, allowed: float, spent: float, reason: str) -> None:
        """Build the message from the limit and what was spent of it."""
        unit = {"usd": "US dollars"}.get(limit, limit)
        super().__init__(
            f"the budget of {allowed:g} {unit} is used up, {spent:.4g} are spent: "
            f"{reason}; allow more with budget({limit}=...), or do less"
        )
        self.limit = limit
        self.allowed = allowed
        self.spent = spent
        self.reason = reason


class UnknownPriceError(BudgetExceededError):
    """A call that costs nobody knows how much was not started under ``budget(usd=)``.

    Attributes:
        place: Where it would have run.
    """

    def __init__(
        self, name: str, place: str, known: str, *, allowed: float, spent: float
    ) -> None:
        """Build the message from what is known of the place beforehand."""
        self.limit = "usd"
        self.allowed = allowed
        self.spent = spent
        self.place = place
        self.reason = (
            f"{name} was not started: its calls cost money in {place}, and how much is "
            "not known here"
        )
        if known:
            self.reason += f" ({known})"
        # Not that of the base class: nothing is used up.
        EntangleError.__init__(
            self,
            f"the budget of {allowed:g} US dollars can't be kept to: {self.reason}; "
            "name its price to its plugin, or leave usd= out and limit minutes= or "
            "tasks=",
        )


for _kind in (
    BudgetExceededError,
    JobError,
    JobLostError,
    PlaceBusyError,
    UnknownPriceError,
    UntrustedResultError,
):
    # People find them there.
    _kind.__module__ = "entangle.errors"
