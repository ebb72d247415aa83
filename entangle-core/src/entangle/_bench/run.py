"""The measurement of all peers, and the table of what came out.

All peers are measured in one run, in interleaved rounds, each round in another order,
so that the machine's moods hit all alike. The table shows medians over the rounds, and
medians of the ratios within a round: "x4.1" is 4.1 times what Entangle takes for the
same kind (process, thread, fresh). Slow peers get a smaller share of a workload; costs
are per unit, so they compare.
"""

import os
import platform
import random
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from statistics import median
from typing import Any

from . import arrays, plugged, streams
from .cached import CACHED, KEEPERS
from .ours import OURS
from .peers import PEERS, WORKERS, Peer
from .workloads import WORKLOADS as CALLS
from .workloads import Workload

WORKLOADS = CALLS | arrays.WORKLOADS | CACHED | streams.WORKLOADS

NO_COLD = {"floor: a bare worker", "entangle streams"}

Samples = dict[str, dict[str, list[float | None]]]


def peers(
    only: Collection[str],
    brought: Iterable[plugged.Row] = (),
    names: Collection[str] = (),
) -> list[Peer]:
    """Return the peers that are installed and wanted, Entangle first.

    Args:
        only: Parts of their names; empty for all.
        brought: What plugins bring.
        names: The works that are measured.
    """
    chosen: list[Peer] = []
    for kind in (*OURS, *streams.PEERS, *PEERS, *arrays.PEERS, *KEEPERS):
        if only and not any(word in kind.name for word in only):
            continue
        if find_spec(kind.needs) is None:
            print(f"skipped: {kind.name} ({kind.needs} not installed)", file=sys.stderr)
            continue
        chosen.append(kind())
    return [*chosen, *plugged.at_hand(brought, names, only)]


def takes_part(peer: Peer, name: str, workload: Workload) -> bool:
    """Tell whether a peer can do a workload."""
    if isinstance(peer, plugged.Row):
        return peer.given.work == name
    if peer.kind not in workload.kinds:
        return False
    if workload.needs == "cold":
        return peer.name not in NO_COLD
    return hasattr(peer, workload.needs)


def measure(peer: Peer, name: str, workload: Workload, scale: float) -> float | None:
    """Measure once; None, with a note, if the peer fails."""
    try:
        if not workload.started:
            return workload.measure(peer, scale)
        peer.open()
        try:
            if isinstance(peer, plugged.Row):
                return peer.given.measure(scale)
            return workload.measure(peer, scale * peer.shares.get(name, 1))
        finally:
            peer.close()
    except Exception as error:  # noqa: BLE001 - one peer's failure is a result
        print(f"{peer.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def rounds(
    chosen: list[Peer],
    names: list[str],
    count: int,
    scale: float,
    workloads: Mapping[str, Workload] = WORKLOADS,
) -> Samples:
    """Measure everything, round by round."""
    samples: Samples = {name: {} for name in names}
    rng = random.Random(0)
    for number in range(count):
        for name in names:
            workload = workloads[name]
            order = [peer for peer in chosen if takes_part(peer, name, workload)]
            for _ in range(workload.often):
                rng.shuffle(order)
                for peer in order:
                    progress(f"round {number + 1}/{count}  {name}: {peer.name}")
                    cost = measure(peer, name, workload, scale)
                    samples[name].setdefault(peer.name, []).append(cost)
    progress("")
    return samples


def progress(text: str) -> None:
    """Show on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def table(
    samples: Samples,
    chosen: list[Peer],
    workloads: Mapping[str, Workload] = WORKLOADS,
) -> str:
    """Return the results as text."""
    lines = []
    for name, by_peer in samples.items():
        if not by_peer:
            continue  # nobody is here who does it
        workload = workloads[name]
        lines.append(f"{name}: {workload.title} ({workload.unit}, lower is better)")
        for peer in chosen:
            costs = by_peer.get(peer.name)
            if costs is None or not takes_part(peer, name, workload):
                continue
            good = [cost for cost in costs if cost is not None]
            if not good:
                lines.append(f"  {peer.name:26}     failed")
                continue
            beside = getattr(peer, "beside", f"entangle {peer.kind}")
            ratio = compared(costs, by_peer.get(beside, []))
            rate = f"{1e6 / median(good):>12,.0f}/s" if "µs" in workload.unit else ""
            lines.append(
                f"  {peer.name:26}{median(good):>11,.1f}{rate}{ratio}".rstrip()
            )
        lines.append("")
    return "\n".join(lines)


def compared(costs: list[float | None], base: list[float | None]) -> str:
    """Return the median ratio to another cost in the same round."""
    ratios = [a / b for a, b in zip(costs, base, strict=False) if a and b]
    return f"  x{median(ratios):,.2f}" if ratios else ""


def machine() -> dict[str, Any]:
    """Describe what the numbers were taken on."""
    from importlib import metadata

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    names = ("entangle-core", "joblib", "dask")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "workers": WORKERS,
        "versions": {name: version(name) for name in names},
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
