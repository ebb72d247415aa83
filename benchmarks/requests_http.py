"""Measure @request against threads with sessions of their own, and memory of a stream.

    python benchmarks/requests_http.py [--quick]

A server in a process of its own answers each request after two milliseconds, on the
same processors. All ways get the same URLs, 32 at once; they take turns, and the best of
their rounds count, so that a busy machine hurts all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import requests

from entangle.http import request
from entangle.thread import thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = 32
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
)
MEBI = 1 << 20


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /large/"):
                await _large(int(head.split(b"/")[2].split()[0]), writer)
                continue
            await asyncio.sleep(0.002)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _large(mebibytes: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (mebibytes * MEBI))
    piece = b"x" * MEBI
    for _ in range(mebibytes):
        writer.write(piece)
        await writer.drain()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def serve() -> tuple[subprocess.Popen[str], str]:
    """Start the server; who starts it ends it."""
    process = subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    )
    port = process.stdout.readline().strip() if process.stdout else ""
    return process, f"http://127.0.0.1:{port}"


def ways(url: str) -> dict[str, Callable[[int], object]]:
    """Return what is compared, each a function of how many requests to make."""

    @thread
    @request(url=f"{url}/{{number}}")
    def ours(text: str) -> str:
        return text

    local = threading.local()

    def by_hand(number: int) -> str:
        session = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
        response = session.get(f"{url}/{number}", timeout=60)
        response.raise_for_status()
        return str(response.text)

    def each_by_itself(number: int) -> str:
        response = requests.get(f"{url}/{number}", timeout=60)
        response.raise_for_status()
        return str(response.text)

    def in_pool(function: Callable[[int], str]) -> Callable[[int], object]:
        def run(count: int) -> object:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                return list(pool.map(function, range(count)))

        return run

    return {
        "@request": lambda count: ours.map(range(count))(),
        "threads with sessions": in_pool(by_hand),
        "threads with requests.get": in_pool(each_by_itself),
    }


def rates(url: str, count: int, rounds: int) -> dict[str, list[float]]:
    """Return the requests a second of each way, round by round."""
    found: dict[str, list[float]] = {}
    compared = ways(url)
    for way in compared.values():
        way(count // 10)
    for _ in range(rounds):
        for name, way in compared.items():
            begun = time.perf_counter()
            way(count)
            found.setdefault(name, []).append(count / (time.perf_counter() - begun))
    return found


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--serve", action="store_true", help="be the server")
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(_serve())
        return
    server, url = serve()
    try:
        found = rates(url, 300 if asked.quick else 1000, 3 if asked.quick else 7)
        ours = found["@request"]
        for name, each in found.items():
            ratio = statistics.median(o / e for o, e in zip(ours, each, strict=True))
            print(
                f"{name:28} {max(each):7,.0f}/s at best, "
                f"{statistics.median(each):7,.0f}/s as a rule; "
                f"@request is {ratio:.2f} x that"
            )
        size = 64 if asked.quick else 1024
        seconds, grown = streamed(url, size)
        print(f"{size} MiB streamed in {seconds:.1f} s; memory grew by {grown:.1f} MiB")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
