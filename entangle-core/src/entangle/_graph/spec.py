"""The immutable set of facets that a task carries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from entangle._graph.options import Options, SchedulerOptions
from entangle._graph.target import Target
from entangle.errors import CompositionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from entangle._graph.facets import Facet


class Spec:
    """How and where a task runs: at most one facet of each key.

    Composing never depends on order: specs are equal if they state the same, and
    two that contradict each other do so either way round.

    Attributes:
        facets: The facets, sorted by key.
    """

    __slots__ = ("facets",)

    facets: tuple[Facet, ...]

    def __init__(self, facets: Iterable[Facet] = ()) -> None:
        """Make a spec of facets with different keys."""
        object.__setattr__(
            self, "facets", tuple(sorted(facets, key=lambda facet: facet.key))
        )

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: specs are shared between tasks."""
        message = f"a spec is immutable: cannot set {name!r}"
        raise AttributeError(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by facets, since attributes cannot be set."""
        return Spec, (self.facets,)

    def __eq__(self, other: object) -> bool:
        """Compare what is stated, not where it was written."""
        if not isinstance(other, Spec):
            return NotImplemented
        return self._stated() == other._stated()

    def __hash__(self) -> int:
        """Hash what is stated."""
        return hash(self._stated())

    def __repr__(self) -> str:
        """Show the facets."""
        return f"<spec {', '.join(map(str, self.facets)) or 'of defaults'}>"

    def _stated(self) -> tuple[tuple[str, object], ...]:
        return tuple((facet.key, facet.value) for facet in self.facets)

    def facet(self, key: str) -> Facet | None:
        """Find the facet with this key."""
        for facet in self.facets:
            if facet.key == key:
                return facet
        return None

    def value(self, key: str, default: Any = None) -> Any:
        """Give the value of the facet with this key, or `default`."""
        facet = self.facet(key)
        return default if facet is None else facet.value

    def summary(self) -> str:
        """Show what is stated, without where."""
        return ", ".join(facet.summary() for facet in self.facets) or "defaults"

    def compose(self, facets: Iterable[Facet], task: str) -> Spec:
        """Add facets.

        Args:
            facets: What to add.
            task: The name of the task, for the error.

        Returns:
            The richer spec.

        Raises:
            CompositionError: If a key has two different values.
        """
        merged = {facet.key: facet for facet in self.facets}
        for facet in facets:
            present = merged.setdefault(facet.key, facet)
            if present.value != facet.value:
                raise CompositionError(
                    f"{task}: {present} and {facet} exclude each other; keep one",
                    task=task,
                    origins=(present.origin, facet.origin),
                )
        return Spec(merged.values())

    def options(self, *, is_async: bool) -> Options:
        """Resolve the facets to what the run layer reads."""
        stated = {
            facet.key: facet.value
            for facet in self.facets
            if facet.key in Options._fields
        }
        place = self.value("where", None)
        if not isinstance(place, Target):
            place = stated.get("executor")
        if isinstance(place, Target):
            stated["executor"] = place.beside(dict(self._stated()))
        stated["how"] = self.value("firing") or self.value("how", "process")
        scheduler = self.value("scheduler")
        if scheduler is not None:
            cpus, impl = scheduler
            stated["scheduler"] = SchedulerOptions(cpus or usable_cpus(), impl)
        return Options(**cast("dict[str, Any]", stated), is_async=is_async)


def usable_cpus() -> int:
    """Count the CPUs that this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
