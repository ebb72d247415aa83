"""What `entangle doctor` looks at: each check returns findings and changes nothing."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from entangle._seam.extensions import Finding

from .versions import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from entangle._seam.plugins import Plugin

SLOW: Final = 0.2  # seconds that importing a plugin may take without being told of
PREFIX: Final = "ENTANGLE_"
VARIABLES: Final = (
    "ENTANGLE_WORKERS",
    "ENTANGLE_INLINE",
    "ENTANGLE_IDLE",
    "ENTANGLE_PROGRESS",
    "ENTANGLE_TRACE",
    "ENTANGLE_FULL_TRACEBACK",
    "ENTANGLE_TARGETS",
    "ENTANGLE_DISABLE_PLUGINS",
    "ENTANGLE_CACHE_DIR",
    "ENTANGLE_CACHE_SIZE",
    "ENTANGLE_BENCH_IMAGE",  # of entangle-docker
)
FEWEST_DESCRIPTORS: Final = 1024
FEWEST_PROCESSES: Final = 64
LEAST_SHARED_MEMORY: Final = 64 << 20
SHARED: Final = Path("/dev/shm")  # noqa: S108 - looked at, not written to


def python() -> Iterator[Finding]:
    """Check the interpreter."""
    text = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.implementation.name != "cpython":
        yield Finding(
            "warn", "Python", text, "only CPython is tested: use it if you can"
        )
    elif sys.version_info < (3, 11):  # noqa: UP036 - installed past its own metadata
        yield Finding("fail", "Python", text, "install Python 3.11 or newer")
    else:
        yield Finding("ok", "Python", f"{text} ({sys.executable})")


def system() -> Iterator[Finding]:
    """Check the operating system."""
    text = f"{platform.system()} {platform.release()} {platform.machine()}"
    if sys.platform == "linux":
        yield Finding("ok", "system", text)
    elif sys.platform == "darwin":
        remedy = "set ENTANGLE_INLINE=1: graphs run in the calling thread alone"
        yield Finding("warn", "system", text, remedy)
    else:
        yield Finding("fail", "system", text, "use Linux or WSL")


def cpus() -> Iterator[Finding]:
    """Compare the machine's CPUs with those that this process may use."""
    from entangle._pool.cpus import workers
    from entangle._worker.processors import allowed, quota

    text = f"{len(allowed())} of {os.cpu_count()} allowed by affinity"
    share = quota()
    if share is not None:
        text += f", {share:g} by the cgroup's quota"
    try:
        text += f": {workers()} worker processes"
    except ValueError as error:
        yield Finding("fail", "CPUs", text, str(error))
        return
    if share is not None and share < 1:
        remedy = "parallel calls share less than one CPU: raise the container's limit"
        yield Finding("warn", "CPUs", text, remedy)
    else:
        yield Finding("ok", "CPUs", text)


def descriptors() -> Iterator[Finding]:
    """Check the limits on open files and processes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= soft < FEWEST_DESCRIPTORS
    remedy = f"`ulimit -n {FEWEST_DESCRIPTORS}` or more; each worker takes a few"
    yield Finding(
        "warn" if few else "ok",
        "open files",
        f"{_limit(soft)} (could be raised to {_limit(hard)})",
        remedy * few,
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    few = 0 <= soft < FEWEST_PROCESSES
    yield Finding(
        "warn" if few else "ok",
        "processes",
        _limit(soft),
        f"`ulimit -u {FEWEST_PROCESSES}` or more" * few,
    )


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else f"{value:,}"


def kernel() -> Iterator[Finding]:
    """Check what the workers' life and death rests on."""
    yield _probe("pidfd", _pidfd, "deaths are noticed later: a kernel from 5.3 has it")
    yield _probe("memfd", _memfd, "big values travel slower: a kernel from 3.17 has it")


def _probe(subject: str, probe: Callable[[], None], remedy: str) -> Finding:
    try:
        probe()
    except (OSError, AttributeError) as error:
        return Finding("warn", subject, f"not usable ({error})", remedy)
    return Finding("ok", subject, "usable")


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _memfd() -> None:
    os.close(os.memfd_create("entangle-doctor"))


def folders() -> Iterator[Finding]:
    """Check the folders that shared memory and temporary files need."""
    if sys.platform == "linux":
        if not os.access(SHARED, os.W_OK):
            remedy = "multiprocessing's own primitives need it: mount a tmpfs there"
            yield Finding("warn", str(SHARED), "missing or not writable", remedy)
        else:
            stat = os.statvfs(SHARED)
            free = stat.f_bavail * stat.f_frsize
            little = free < LEAST_SHARED_MEMORY
            remedy = "start the container with a larger --shm-size"
            text = f"{free >> 20:,} MiB free"
            yield Finding(
                "warn" if little else "ok", str(SHARED), text, remedy * little
            )
    try:
        with tempfile.TemporaryFile():
            yield Finding("ok", "temp files", tempfile.gettempdir())
    except OSError as error:
        yield Finding("fail", "temp files", str(error), "free some disk or set TMPDIR")


def packages() -> Iterator[Finding]:
    """Check that Entangle and what it depends on are installed."""
    own = version_of("entangle-core")
    if own is None:
        remedy = "works, but plugins can't be found: install it with pip"
        yield Finding("warn", "entangle-core", "no package metadata", remedy)
    else:
        yield Finding("ok", "entangle-core", own)
    for name in ("cloudpickle", "pluggy"):
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken install fails in any way
            text = f"{type(error).__name__}: {error}"
            yield Finding("fail", name, text, f"pip install --force-reinstall {name}")
        else:
            yield Finding("ok", name, version_of(name) or "no package metadata")


def namespace() -> Iterator[Finding]:
    """Look for packages that hide the namespace `entangle` from a program."""
    folders = dict.fromkeys([str(Path.cwd()), *(entry or "." for entry in sys.path)])
    found = [
        candidate
        for folder in folders
        for candidate in (
            Path(folder, "entangle", "__init__.py"),
            Path(folder, "entangle.py"),
        )
        if candidate.is_file()
    ]
    for path in found:
        remedy = "rename or remove it (`pip uninstall entangle` if pip put it there)"
        text = f"{path} hides Entangle's modules"
        yield Finding("fail", "namespace", text, remedy)
    if not found:
        yield Finding("ok", "namespace", "nothing hides `entangle`")


def environment() -> Iterator[Finding]:
    """Check the variables that configure Entangle."""
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in VARIABLES:
            # Without the prefix: it would make all of them look alike.
            known = {variable[len(PREFIX) :]: variable for variable in VARIABLES}
            close = get_close_matches(name[len(PREFIX) :], known, n=1)
            remedy = f"did you mean {known[close[0]]}?" if close else "unset it"
            yield Finding(
                "warn", name, "not a variable that this version knows", remedy
            )
        elif name in VARIABLES:
            yield Finding("ok", name, os.environ[name])


def cache() -> Iterator[Finding]:
    """Check the directory in which values are kept."""
    from entangle._cache import directory
    from entangle.errors import CacheDirectoryError, OptionError

    try:
        path, most = directory.path(), directory.size()
        found = directory.existing()
    except (CacheDirectoryError, OptionError) as error:
        text, _, remedy = str(error).partition("; ")
        yield Finding("fail", "cache", text, remedy or "correct it, or unset it")
        return
    if found is not None and not os.access(found, os.W_OK):
        remedy = "make it writable, or set ENTANGLE_CACHE_DIR to another"
        yield Finding("warn", "cache", f"{path} can't be written to", remedy)
    else:
        yield Finding("ok", "cache", f"{path}, up to {most / 1e9:g} GB")


def plugin(found: Plugin) -> Iterator[Finding]:
    """Pass on what is wrong with a plugin, after it was used."""
    subject = f"plugin {found.name}"
    for problem in found.problems:
        remedy = (
            f"upgrade or remove {found.distribution}, or set "
            f"ENTANGLE_DISABLE_PLUGINS={found.name}"
        )
        yield Finding("warn", subject, problem, remedy)
    if found.seconds > SLOW:
        text = f"takes {found.seconds:.1f} s to import"
        remedy = f"ask {found.distribution} to import what is heavy in functions"
        yield Finding("warn", subject, text, remedy)
    elif not found.problems:
        text = f"{found.distribution} {found.version}".rstrip()
        yield Finding("ok", subject, text)


def round_trip() -> Iterator[Finding]:
    """Run one call in a worker process, twice: cold, then warm."""
    import time

    try:
        from .probe import where

        started = time.perf_counter()
        where().run(timeout=30)
        between = time.perf_counter()
        pid = where().run(timeout=30)
        ended = time.perf_counter()
    except Exception as error:  # noqa: BLE001 - any failure is the finding
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = "see the lines above; if they are all ok, report this"
        yield Finding("fail", "round trip", text, remedy)
        return
    if pid == os.getpid():
        text = "the call ran in this process"
        remedy = "unset ENTANGLE_INLINE to use worker processes"
        yield Finding("warn", "round trip", text, remedy)
    else:
        cold, warm = 1e3 * (between - started), 1e3 * (ended - between)
        text = f"first call {cold:.0f} ms, next {warm:.2f} ms, in process {pid}"
        yield Finding("ok", "round trip", text)


CHECKS: Final = (
    python,
    system,
    cpus,
    descriptors,
    kernel,
    folders,
    packages,
    namespace,
    environment,
    cache,
    round_trip,
)
