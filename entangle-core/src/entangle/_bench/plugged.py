"""Rows of the table that plugins bring: measured in turns with what they stand beside."""

import sys
from collections.abc import Collection, Iterable, Mapping

from entangle._seam.extensions import Benchmark

from .peers import Peer
from .workloads import Workload


class Row(Peer):
    """One way to do one work, of a plugin's.

    Args:
        given: What the plugin has given.
    """

    def __init__(self, given: Benchmark) -> None:
        self.given = given
        self.name = given.name  # type: ignore[misc]  # of this one
        self.beside = given.beside

    def open(self) -> None:
        """Make it ready."""
        if self.given.open is not None:
            self.given.open()

    def close(self) -> None:
        """End what `open` has begun."""
        if self.given.close is not None:
            self.given.close()


def rows(core: Mapping[str, Workload]) -> list[Row]:
    """Return what plugins bring; what makes no sense is their trouble.

    Args:
        core: The works of core's, by name.
    """
    from entangle._seam.plugins import plugins

    found: list[Row] = []
    units = {name: workload.unit for name, workload in core.items()}
    for plugin, given in plugins.each("entangle_bench", Benchmark):
        unit = given.unit or units.get(given.work)
        if unit is None or units.setdefault(given.work, unit) != unit:
            plugin.trouble(
                f"entangle_bench() gave {given.name!r} in {given.unit or 'no unit'!r}; "
                f"{given.work!r} is measured in {units.get(given.work, 'some')!r}"
            )
        else:
            found.append(Row(given))
    return found


def workloads(
    brought: Iterable[Row], core: Mapping[str, Workload]
) -> dict[str, Workload]:
    """Return all works, those of plugins after core's."""
    known = dict(core)
    for row in brought:
        given = row.given
        if given.work not in known:
            title = given.title or given.work
            known[given.work] = Workload(title, given.unit, (), "", _measured)
    return known


def _measured(row: Row, scale: float) -> float:
    return row.given.measure(scale)


def at_hand(
    brought: Iterable[Row], names: Collection[str], only: Collection[str]
) -> list[Row]:
    """Return the rows that are wanted and can be measured; say why others can't.

    Args:
        brought: All of them.
        names: The works that are measured.
        only: Parts of the names of the rows; empty for all.
    """
    found: list[Row] = []
    left_out: dict[str, dict[str, None]] = {}  # names by why, in order
    for row in brought:
        given = row.given
        if given.work not in names:
            continue
        if only and not any(part in given.name for part in only):
            continue
        try:
            why = given.missing() if given.missing is not None else ""
        except Exception as error:  # noqa: BLE001 - a plugin's, which harms no other
            why = f"{type(error).__name__}: {error}"
        if why:
            left_out.setdefault(why, {})[given.name] = None
        else:
            found.append(row)
    for why, rows_of in left_out.items():
        print(f"skipped: {', '.join(rows_of)} ({why})", file=sys.stderr)
    return found
