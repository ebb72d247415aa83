"""What of the caller's process state a worker takes over before it runs a call."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Names the pool in the environment of whatever a task starts, so that it can be found
# when nothing else leads to it any more.
MARK = "ENTANGLE_POOL"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def capture(umask: int) -> dict[str, Any]:
    """Return the calling process's state, as a dictionary of plain values.

    Keys: ``environ`` (in bytes), ``cwd`` (None where it is gone), ``folder`` (what tells
    it from another of that name), ``path``, ``argv``,
    ``filters`` (of warnings, None where that module isn't loaded), ``recursion``
    (limit), ``umask``, ``locale``, ``main`` (the main module's file, if it has one).
    """
    try:
        cwd = os.getcwd()  # noqa: PTH109 - pathlib would be an import only for that
    except OSError:
        cwd = None
    warnings = sys.modules.get("warnings")
    main = sys.modules.get("__main__")
    return {
        "environ": _environ(),
        "cwd": cwd,
        "folder": _folder(),
        "path": list(sys.path),
        "argv": list(getattr(sys, "argv", ())),
        "filters": list(warnings.filters) if warnings is not None else None,
        "recursion": sys.getrecursionlimit(),
        "umask": umask,
        "locale": _locale(),
        "main": getattr(main, "__file__", None),
    }


def unchanged(state: Mapping[str, Any], umask: int) -> bool:
    """Tell whether `capture` would return an equal state: cheaper than doing so."""
    warnings = sys.modules.get("warnings")
    main = sys.modules.get("__main__")
    try:
        cwd = os.getcwd()  # noqa: PTH109 - as above
    except OSError:
        cwd = None
    return bool(
        state["umask"] == umask
        and state["cwd"] == cwd
        and state["folder"] == _folder()
        and state["path"] == sys.path
        and state["environ"] == (getattr(os.environ, "_data", None) or _environ())
        and state["argv"] == getattr(sys, "argv", [])
        and state["filters"] == (None if warnings is None else warnings.filters)
        and state["recursion"] == sys.getrecursionlimit()
        and state["main"] == getattr(main, "__file__", None)
        and state["locale"] == _locale()
    )


def portable(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `capture` has captured with the categories of filters as names.

    A worker must not import a library only because somebody filters its warnings.
    """
    filters = state["filters"]
    if filters is None:
        return {**state}
    return {**state, "filters": [_named(entry) for entry in filters]}


def _named(entry: Any) -> Any:
    action, message, category, module, line = entry
    if not isinstance(category, type):
        return entry  # several at once
    names = (category.__module__, category.__qualname__)
    return action, message, names, module, line


def _folder() -> tuple[int, int] | None:
    """Return what tells the working directory from another one of its name."""
    try:
        status = os.stat(".")  # noqa: PTH116 - as PTH109
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _environ() -> dict[bytes, bytes]:
    # As the interpreter keeps it: decoding each variable costs more than a call.
    data: dict[bytes, bytes] | None = getattr(os.environ, "_data", None)
    if data is None:
        # The program has put a mapping of its own there.
        return {os.fsencode(n): os.fsencode(v) for n, v in os.environ.items()}
    return data.copy()


def _locale(name: str | None = None) -> str | None:
    try:
        import _locale as module
    except ImportError:
        return None
    try:
        return module.setlocale(module.LC_ALL, name)
    except module.Error:  # type: ignore[attr-defined]  # the stubs have none
        return None


def apply(state: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Make this process's state the caller's.

    Args:
        state: what `capture` returned there, as `portable` has it or not.
        overrides: ``env`` (merged into the environment), ``cwd``, ``nice`` and
            ``cpus`` (the processors to be bound to) of this worker, None for as is.

    Raises:
        OSError: a working directory that can't be entered.
    """
    _apply_environ(state["environ"], overrides)
    sys.path[:] = state["path"]
    sys.argv = list(state["argv"])
    if state["recursion"] != sys.getrecursionlimit():
        sys.setrecursionlimit(state["recursion"])
    os.umask(state["umask"])
    if state["locale"] is not None and state["locale"] != _locale():
        _locale(state["locale"])
    if state["filters"] is not None:
        _apply_filters(state["filters"])
    cwd = overrides.get("cwd")
    if cwd is not None:
        os.chdir(os.path.join(state["cwd"] or "/", cwd))  # noqa: PTH118 - as PTH109
    elif state["cwd"] is not None:
        try:
            os.chdir(state["cwd"])
        except OSError:
            # The caller sits in a directory that is gone, or not to be entered
            # again; that is no reason to fail calls that don't care.
            pass


def _apply_environ(
    environ: Mapping[bytes, bytes], overrides: Mapping[str, Any]
) -> None:
    wanted = {os.fsdecode(name): os.fsdecode(environ[name]) for name in environ}
    cpus = overrides.get("cpus")
    if cpus:
        # What numeric libraries look at when they decide how many threads to start.
        wanted.update(dict.fromkeys(THREAD_VARIABLES, str(len(cpus))))
    wanted.update(overrides.get("env") or ())
    if MARK in os.environ:
        wanted[MARK] = os.environ[MARK]
    if wanted != os.environ:
        for name in set(os.environ) - set(wanted):
            del os.environ[name]
        os.environ.update(wanted)


def _apply_filters(filters: list[Any]) -> None:
    import warnings

    filters = [
        (*entry[:2], _category(*entry[2]), *entry[3:])
        if isinstance(entry[2], tuple) and isinstance(entry[2][0], str)
        else entry
        for entry in filters
    ]
    if warnings.filters != filters:
        warnings.filters[:] = filters  # type: ignore[index]  # a list, typed for readers
        # Entering it makes every module forget which warnings it has shown.
        with warnings.catch_warnings():
            pass


class _ByName(type):
    """The type of categories that stand for classes which aren't loaded (yet)."""

    def __subclasscheck__(cls, other: type) -> bool:
        wanted = (cls.__module__, cls.__qualname__)
        # Of the type itself: looking at attributes of a proxy could do anything.
        bases = type.__dict__["__mro__"].__get__(other)
        if any((base.__module__, base.__qualname__) == wanted for base in bases):
            return True
        # One that arrived by value has no place but its module.
        wanted = (cls.__module__, cls.__qualname__.rpartition(".")[2])
        return any((base.__module__, base.__qualname__) == wanted for base in bases)


_categories: dict[tuple[str, str], type] = {}


def _category(module: str, name: str) -> type:
    """Return a category of warnings, or one that means the same once it is loaded."""
    if module == "builtins":
        category = getattr(sys.modules[module], name, None)
        if isinstance(category, type):
            return category
    key = module, name
    if key not in _categories:
        names = {"__module__": module, "__qualname__": name}
        _categories[key] = _ByName(name, (Warning,), names)
    return _categories[key]


def settle(overrides: Mapping[str, Any]) -> None:
    """Take on what a worker keeps for life: niceness and processors.

    Raises:
        OSError: a niceness or processors that this process may not have.
    """
    nice = overrides.get("nice")
    if nice:
        os.nice(nice)
    cpus = overrides.get("cpus")
    if cpus:
        os.sched_setaffinity(0, cpus)
