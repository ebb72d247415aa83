"""What may have become of a node, as pictures show it: a colour and a glyph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

State = Literal["waiting", "running", "done", "failed", "retry", "skipped"]


class Look(NamedTuple):
    """How a state looks.

    Attributes:
        glyph: What doubles its colour, for who doesn't see it.
        light: The colours of text or border, then of the ground, on white.
        dark: The same, on black.
    """

    glyph: str
    light: tuple[str, str]
    dark: tuple[str, str]


LOOKS: Final[dict[State, Look]] = {
    "waiting": Look("·", ("#57606a", "#f6f8fa"), ("#9198a1", "#212830")),
    "running": Look("●", ("#0958b8", "#ddf0ff"), ("#6cb2ff", "#12304f")),
    "done": Look("✓", ("#116329", "#dcf7e3"), ("#56d37a", "#12331d")),
    "failed": Look("✗", ("#b3131f", "#ffe5e5"), ("#ff8a84", "#4a1a1c")),
    "retry": Look("↻", ("#855300", "#fff1cf"), ("#e3b341", "#3b2b05")),
    "skipped": Look("–", ("#6e7781", "#ffffff"), ("#8b949e", "#0d1117")),
}
# What is said of a card that stands for several calls: the first that any of them has.
_RANK: Final[tuple[State, ...]] = (
    *("failed", "running", "retry", "waiting", "skipped", "done"),
)


def checked(state: object) -> State:
    """Return a state.

    Raises:
        ValueError: there is none of that name.
    """
    for known in get_args(State):
        if state == known:
            found: State = known
            return found
    raise ValueError(
        f"a node's state must be one of {', '.join(get_args(State))}, not {state!r}"
    )


def counted(states: Iterable[State]) -> dict[State, int]:
    """Count states, in the order in which they are listed."""
    counts = dict.fromkeys(LOOKS, 0)
    for state in states:
        counts[state] += 1
    return {state: count for state, count in counts.items() if count}


def together(counts: dict[State, int]) -> State | None:
    """Return the state of several calls that are drawn as one; None for no state."""
    return next((state for state in _RANK if state in counts), None)


def in_words(counts: dict[State, int]) -> str:
    """Show counts by state: ``✓ 38 done, ✗ 1 failed``."""
    return ", ".join(
        f"{LOOKS[state].glyph} {count:,} {state}" for state, count in counts.items()
    )
