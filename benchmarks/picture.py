"""Draw the samples of a benchmark: `python benchmarks/picture.py SAMPLES.json OUT.svg`.

One panel for each workload, one bar for each peer: the median over the rounds of what it
takes, divided by what Entangle takes in the same round, on a logarithmic scale.
"""

import json
import math
import sys
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

PANELS = {
    "call": "one warm call",
    "fanout": "10,000 calls",
    "chain": "a chain of 1,000",
    "layers": "a graph of 10,000 nodes, 3 parents each",
    "fresh call": "one call in a new process",
    "cold": "five calls in a new interpreter",
}
KINDS = {"fresh call": "entangle fresh"}
OURS = "entangle process"
WIDTH, LABEL, BAR, GAP = 760, 190, 16, 4
SMALLEST, LARGEST = 0.1, 100.0


def ratios(samples: dict[str, Any], name: str) -> list[tuple[str, float]]:
    """Return each peer's median ratio to Entangle, Entangle first."""
    by_peer = samples[name]
    ours = KINDS.get(name, OURS)
    found = []
    for peer, costs in by_peer.items():
        if "thread" in peer:
            continue
        pairs = zip(costs, by_peer[ours], strict=True)
        several = [cost / base for cost, base in pairs if cost and base]
        if several:
            found.append((peer, median(several)))
    return sorted(found, key=lambda item: (item[0] != ours, item[1]))


def position(ratio: float) -> float:
    """Return where a ratio is on the scale."""
    low, high = math.log10(SMALLEST), math.log10(LARGEST)
    share = (math.log10(min(max(ratio, SMALLEST), LARGEST)) - low) / (high - low)
    return LABEL + share * (WIDTH - LABEL - 70)


def picture(samples: dict[str, Any]) -> str:
    """Return the picture as SVG."""
    parts: list[str] = []
    top = 14
    one = position(1)
    for name, title in PANELS.items():
        if name not in samples:
            continue
        top += 24
        parts.append(text(LABEL, top - 8, title, weight="bold"))
        for peer, ratio in ratios(samples, name):
            ours = peer.startswith("entangle")
            end = position(ratio)
            left, width = min(one, end), max(abs(end - one), 1.5)
            colour = "#0b7a5b" if ours else "#9aa3ad"
            parts.append(text(LABEL - 8, top + 12, peer, anchor="end"))
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BAR}" '
                f'rx="2" fill="{colour}"/>'
            )
            label = f"{ratio:.2g} x" if ratio < 10 else f"{ratio:,.0f} x"
            parts.append(text(max(one, end) + 6, top + 12, label))
            top += BAR + GAP
    parts.append(
        f'<line x1="{one:.1f}" y1="14" x2="{one:.1f}" y2="{top}" stroke="#0b7a5b"/>'
    )
    height = top + 34
    parts.append(
        text(LABEL, top + 22, "time, Entangle = 1, logarithmic: shorter is faster")
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def text(
    x: float, y: float, content: str, *, anchor: str = "start", weight: str = "normal"
) -> str:
    """Return one line of text."""
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="#1c2126">{escape(content)}</text>'
    )


def main() -> int:
    """Read the samples, write the picture."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    report = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(picture(report["samples"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
