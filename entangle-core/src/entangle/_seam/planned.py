"""What a plan says of one task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class Price(str):
    """What a call costs: a line for people, with the figures for budgets.

    Attributes:
        call: US dollars for each call.
        second: US dollars for each second that it runs.
        least: Seconds that are billed even if it is over sooner.
    """

    __slots__ = ("call", "least", "second")

    call: float
    second: float
    least: float

    def __new__(
        cls, text: str, *, call: float = 0.0, second: float = 0.0, least: float = 0.0
    ) -> Self:
        """Say in words what it is made of, and the figures."""
        made = super().__new__(cls, text)
        made.call = call
        made.second = second
        made.least = least
        return made

    def of(self, seconds: float) -> float:
        """Return what a call costs that runs for so long."""
        return self.call + self.second * max(seconds, self.least)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the figures."""
        return _price, (str(self), self.call, self.second, self.least)


def _price(text: str, call: float, second: float, least: float) -> Price:
    return Price(text, call=call, second=second, least=least)


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """What would become of the calls of one task.

    Attributes:
        name: The name of the task.
        calls: How many nodes of the graph call it.
        built_at: Where the first of them was built, as ``file:line``.
        place: Where they would run: ``'process'``, ``'thread'``, ``'caller'`` (the
            body of a workflow), or the target as it is written.
        target: The name of the place's decorator or executor; empty for places of
            this process and its workers.
        options: The target's options, by name, without those that are secret.
        partners: Those of the decorators beside it that it needs, by their names,
            likewise.
        asks: The options of the task that ask for something, as they are written.
        instead_of: The place that the task asks for, where ``ENTANGLE_TARGETS`` or
            inline replaces it; else empty.
        relaxed: Options that the place can't honour and that are left out, with the
            reason, since the place was replaced.
        refused: Why the calls can't run there; empty if they can.
        cached: How many of the calls would not run, since their values are kept on
            disk; None if the task keeps nothing there. Only calls without nodes among
            their arguments can be looked for without running.
        paid: Whether calls cost money there: then no price means that it is unknown.
        notes: What plugins know beforehand: credentials, images, limits; what is a
            `Price` has figures, too.
    """

    name: str
    calls: int
    built_at: str
    place: str
    target: str = ""
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    partners: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, "Mapping[str, object]"]
    )
    asks: tuple[str, ...] = ()
    instead_of: str = ""
    relaxed: tuple[str, ...] = ()
    refused: str = ""
    cached: int | None = None
    paid: bool = False
    notes: tuple[str, ...] = ()

    @property
    def price(self) -> Price | None:
        """What a call costs, by all prices together; None if none is known.

        That is nothing, unless the place is `paid`.
        """
        prices = [note for note in self.notes if isinstance(note, Price)]
        if len(prices) < 2:  # noqa: PLR2004 - nothing to add up
            return prices[0] if prices else None
        return Price(
            "; ".join(prices),
            call=sum(each.call for each in prices),
            second=sum(each.second for each in prices),
            least=max(each.least for each in prices),
        )
