"""Which calls of a large graph are drawn as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

MOST: Final = 300  # cards, above which the lines of one task are drawn as one, too


def collapsed(
    sites: Sequence[Any], arrows: Iterable[tuple[int, int, Any]]
) -> list[list[int]]:
    """Group the calls that one line has made in one way: a loop's are one card.

    Calls are alike if the same line calls the same task, and what they take comes from
    the same lines. The first call of a chain that a loop has built is thus apart.

    Args:
        sites: For each call what it is alike by: its task, and its line.
        arrows: From, to, and the kind of each edge.

    Returns:
        The numbers of each group's calls; groups in the order of their first ones.
    """
    rough = _numbered(sites)
    taken: list[set[Any] | None] = [None] * len(sites)
    for source, target, kind in arrows:
        inputs = taken[target]
        if inputs is None:
            inputs = taken[target] = set()
        inputs.add((rough[source], kind))
    fine = _numbered(
        [
            (site, None if inputs is None else frozenset(inputs))
            for site, inputs in zip(rough, taken, strict=True)
        ]
    )
    if fine and max(fine) >= MOST:
        fine = rough
    if fine and max(fine) >= MOST:
        tasks: list[Any] = [site[0] if type(site) is tuple else site for site in sites]
        fine = _numbered(tasks)
    groups: list[list[int]] = [[] for _ in range(max(fine, default=-1) + 1)]
    for number, group in enumerate(fine):
        groups[group].append(number)
    return groups


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    """Number equal things alike, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]
