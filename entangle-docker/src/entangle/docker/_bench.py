"""Rows for `entangle bench`: calls in containers beside what they are made of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import cache, partial
from importlib.util import find_spec
from shutil import which
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from entangle.hooks import Benchmark
from entangle.task import gather, shutdown

from . import _work
from ._decorator import docker
from ._engine import Engine
from ._errors import DockerError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE: Final = "ENTANGLE_BENCH_IMAGE"
OURS: Final = "entangle docker"

_BYTES: Final = 80_000_000
_FIRST: Final = "first container"


def benchmarks() -> Iterator[Benchmark]:
    """Yield the rows; whether they can be measured is found out later."""
    calls, two = _Calls(), _Calls(containers=2, calls=1)
    yield Benchmark(
        "call", OURS, calls.call, open=calls.open, close=shutdown, missing=_missing
    )
    executed = _Executed()
    yield Benchmark(
        "call",
        "docker exec",
        executed.call,
        open=executed.open,
        close=executed.close,
        missing=_no_command,
    )
    yield Benchmark(
        "fanout",
        "entangle docker, two",
        two.fan_out,
        open=two.open,
        close=shutdown,
        missing=_missing,
    )
    yield Benchmark(
        _FIRST,
        OURS,
        _first,
        "ms",
        "from nothing to the first value in a container, image present",
        OURS,
        close=shutdown,
        missing=_missing,
    )
    yield Benchmark(_FIRST, "docker run", _run, "ms", beside=OURS, missing=_no_command)
    for work, measure in (("there", calls.there), ("back", calls.back)):
        yield Benchmark(
            work,
            OURS,
            measure,
            beside="entangle streams",
            open=calls.open,
            close=shutdown,
            missing=_no_arrays,
        )


def image() -> str:
    """Return the image that is measured: of this Python's version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return os.environ.get(IMAGE) or f"python:{version}-slim"


class _Calls:
    """Calls in warm containers."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def open(self) -> None:
        place = docker(image=image(), **self._options)
        self._nothing = place(_work.nothing)
        self._size, self._made = place(_work.size), place(_work.made)
        gather(*[self._nothing(number) for number in range(32)])()

    def call(self, scale: float) -> float:
        """Return the median time of single calls, in µs."""
        return _each(self._nothing(1), scale) * 1e6

    def fan_out(self, scale: float) -> float:
        """Return the time for each of many independent calls, in µs."""
        count = max(5, round(10_000 * scale))
        begun = time.perf_counter()
        values = gather(*[self._nothing(number) for number in range(count)])()
        took = time.perf_counter() - begun
        _check(values, [*range(count)])
        return took / count * 1e6

    def there(self, scale: float) -> float:
        """Return the time for a megabyte that is sent, in ms."""
        count = int(_BYTES * scale)
        data = _work.made(count)
        return _second(self._size(data), count) / count * 1e9

    def back(self, scale: float) -> float:
        """Return the time for a megabyte that comes back, in ms."""
        count = int(_BYTES * scale)
        return _second(lambda: int(self._made(count)().nbytes), count) / count * 1e9


class _Executed:
    """`docker exec` into a container that is there."""

    _container: subprocess.Popen[bytes]
    _name: str

    def open(self) -> None:
        self._name = f"entangle-bench-{os.getpid()}"
        # It ends with its input, which ends with this process.
        wait = "import sys; print(flush=True); sys.stdin.read()"
        command = ["docker", "run", "--rm", "--interactive", "--name", self._name]
        self._container = subprocess.Popen(  # noqa: S603 - what is compared with
            [*command, "--network=none", image(), "python3", "-c", wait],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._container.stdout is not None:
            self._container.stdout.readline()

    def close(self) -> None:
        self._container.communicate()

    def call(self, scale: float) -> float:
        """Return the median time of single commands, in µs."""
        command = ["docker", "exec", self._name, "python3", "-c", "pass"]
        run = partial(subprocess.run, command, check=True, stdin=subprocess.DEVNULL)
        return _each(run, scale / 10) * 1e6


def _first(_: float) -> float:
    """Return the time to the first value, in ms."""
    shutdown()
    begun = time.perf_counter()
    _check(docker(image=image())(_work.nothing)(7)(), 7)
    return (time.perf_counter() - begun) * 1e3


def _run(_: float) -> float:
    """Return the time of a container for a Python that does nothing, in ms."""
    begun = time.perf_counter()
    command = ["docker", "run", "--rm", image(), "python3", "-c", "pass"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - as above
    return (time.perf_counter() - begun) * 1e3


def _each(body: Callable[[], object], scale: float) -> float:
    times: list[float] = []
    for _ in range(max(5, round(200 * scale))):
        begun = time.perf_counter()
        body()
        times.append(time.perf_counter() - begun)
    return median(times)


def _second(body: Callable[[], int], wanted: int) -> float:
    """Return how long something takes when it has been done once."""
    body()
    begun = time.perf_counter()
    got = body()
    took = time.perf_counter() - begun
    _check(got, wanted)
    return took


def _check(got: object, wanted: object) -> None:
    if got != wanted:
        raise ArithmeticError("wrong result")


# -- why not ---------------------------------------------------------------------------


@cache
def _missing() -> str:
    """Say why containers can't be measured here; empty if they can."""
    try:
        engine = Engine()
    except EngineError as error:
        return error.reason
    except ImportError as error:
        return str(error)
    try:
        if engine.describe(image()) is None:
            return (
                f"no image {image()} there: pull it, or name one with this Python's "
                f"version in {IMAGE}"
            )
    except DockerError as error:
        return error.reason
    finally:
        engine.close()
    return ""


def _no_command() -> str:
    why = _missing()
    if not why and which("docker") is None:
        why = "the command docker is not installed"
    return why


@cache
def _no_arrays() -> str:
    why = _missing()
    if why:
        return why
    if find_spec("numpy") is None:
        return "numpy not installed"
    try:
        there = docker(image=image())(_work.has_numpy)()()
    except Exception as error:  # noqa: BLE001 - whatever it is, the row is left out
        return f"{type(error).__name__}: {error}"
    finally:
        shutdown()
    return "" if there else f"the image {image()} has no numpy"
