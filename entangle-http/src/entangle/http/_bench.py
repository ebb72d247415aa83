"""Rows for `entangle bench`: many requests beside threads that are written by hand."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from entangle.hooks import Benchmark
from entangle.task import shutdown
from entangle.thread import thread

from ._decorator import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORK: Final = "requests"
OURS: Final = "entangle request"
AT_ONCE: Final = 32


def benchmarks() -> Iterator[Benchmark]:
    """Yield the rows: the same addresses, as many at once."""
    for name, way in (
        (OURS, ours),
        ("threads with sessions", by_hand),
        ("threads, requests.get", each_by_itself),
    ):
        measured = Measured(way)
        yield Benchmark(
            WORK,
            name,
            measured.requests,
            "µs/request",
            f"1,000 GETs, {AT_ONCE} at once, of a server that takes 2 ms",
            OURS,
            measured.open,
            measured.close,
        )


class Server:
    """A server in a process of its own, which ends with this one."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("_bench_server.py")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        out: Any = self._process.stdout
        self.url = f"http://127.0.0.1:{out.readline().strip()}"

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Measured:
    """One way to make requests."""

    _server: Server
    _way: Callable[[int], list[str]]

    def __init__(self, made: Callable[[str], Callable[[int], list[str]]]) -> None:
        self._made = made

    def open(self) -> None:
        """Start a server, and make some requests."""
        self._server = Server()
        self._way = self._made(self._server.url)
        self._way(AT_ONCE)

    def close(self) -> None:
        """End the server."""
        shutdown()
        self._server.close()

    def requests(self, scale: float) -> float:
        """Return the time for each request, in µs."""
        count = max(AT_ONCE, round(1_000 * scale))
        begun = time.perf_counter()
        texts = self._way(count)
        took = time.perf_counter() - begun
        if texts != ["hello"] * count:
            raise ArithmeticError("wrong result")
        return took / count * 1e6


def ours(url: str) -> Callable[[int], list[str]]:
    """Return what makes requests as `@request` does."""

    @thread
    @request(url=f"{url}/{{number}}")
    def text(text: str) -> str:
        return text

    return lambda count: text.map(range(count))()


def by_hand(url: str) -> Callable[[int], list[str]]:
    """Return what makes them in threads that each have a session."""
    import requests

    local = threading.local()

    def text(number: int) -> str:
        session = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
        response = session.get(f"{url}/{number}", timeout=60)
        response.raise_for_status()
        return str(response.text)

    return _in_pool(text)


def each_by_itself(url: str) -> Callable[[int], list[str]]:
    """Return what makes them in threads, by the function that one finds first."""
    import requests

    def text(number: int) -> str:
        response = requests.get(f"{url}/{number}", timeout=60)
        response.raise_for_status()
        return str(response.text)

    return _in_pool(text)


def _in_pool(function: Callable[[int], str]) -> Callable[[int], list[str]]:
    def texts(count: int) -> list[str]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(function, range(count)))

    return texts
