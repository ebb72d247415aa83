"""What a plan says of one task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        asks: The options of the task that ask for something, as they are written.
        instead_of: The place that the task asks for, where ``ENTANGLE_TARGETS`` or
            inline replaces it; else empty.
        relaxed: Options that the place can't honour and that are left out, with the
            reason, since the place was replaced.
        refused: Why the calls can't run there; empty if they can.
        cached: How many of the calls would not run, since their values are kept on
            disk; None if the task keeps nothing there. Only calls without nodes among
            their arguments can be looked for without running.
        notes: What plugins know beforehand: credentials, images, limits, price.
    """

    name: str
    calls: int
    built_at: str
    place: str
    target: str = ""
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    asks: tuple[str, ...] = ()
    instead_of: str = ""
    relaxed: tuple[str, ...] = ()
    refused: str = ""
    cached: int | None = None
    notes: tuple[str, ...] = ()
