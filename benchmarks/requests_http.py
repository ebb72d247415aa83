"""Measure how @request streams a large body: how fast, in how much memory.

    python benchmarks/requests_http.py [MEBIBYTES]

Many small requests are rows of `entangle bench`.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

from entangle.http import request
from entangle.http._bench import Server
from entangle.thread import thread

if TYPE_CHECKING:
    from collections.abc import Iterator


def peak() -> float:
    """Return the largest size that this process had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def streamed(url: str, mebibytes: int) -> tuple[float, float]:
    """Stream a large body; return seconds and by how many MiB the process grew."""

    @thread
    @request(url=f"{url}/large/{{size}}", timeout=600.0)
    def total(chunks: Iterator[bytes]) -> int:
        return sum(map(len, chunks))

    total(1)()
    before, begun = peak(), time.perf_counter()
    total(mebibytes)()
    return time.perf_counter() - begun, peak() - before


def main() -> None:
    """Measure and print."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    server = Server()
    try:
        seconds, grown = streamed(server.url, size)
        print(f"{size} MiB streamed in {seconds:.1f} s; memory grew by {grown:.1f} MiB")
    finally:
        server.close()


if __name__ == "__main__":
    main()
