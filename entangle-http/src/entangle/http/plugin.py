"""What this distribution adds to Entangle by hooks."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from entangle.hooks import Benchmark, Finding, Leftover, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTANGLE_SPI = 1


@hookimpl
def entangle_bench() -> Iterator[Benchmark]:
    """Bring many requests, and what makes them by hand."""
    from ._bench import benchmarks

    yield from benchmarks()


@hookimpl
def entangle_doctor() -> Iterator[Finding]:
    """Check that requests and what lies below it are what they say."""
    from importlib.metadata import PackageNotFoundError, version

    import urllib3

    said = version("urllib3")
    there: str = getattr(urllib3, "__version__", "of no version")
    if said != there:
        yield Finding(
            "fail",
            "http",
            f"urllib3 {said} is installed, and urllib3 {there} is what is imported: "
            "another distribution has overwritten it",
            "uninstall urllib3-future (niquests needs it), then reinstall urllib3",
        )
        return
    try:
        keeps = f"CacheControl {version('CacheControl')}"
    except PackageNotFoundError:
        keeps = "no CacheControl, so no http_cache=True"
    yield Finding(
        "ok", "http", f"requests {version('requests')}, urllib3 {said}, {keeps}"
    )


@hookimpl
def entangle_sweep(older_than: float) -> Iterator[Leftover]:
    """Find temporary files of requests whose process was killed."""
    from ._body import abandoned

    for path in abandoned():
        age = time.time() - path.stat().st_mtime
        if age >= older_than:
            yield Leftover(
                "file", str(path), age, partial(path.unlink, missing_ok=True)
            )
