"""The views of runs that are asked for: by arguments of a run, or by the environment."""

from __future__ import annotations

import atexit
import contextlib
import os
from typing import TYPE_CHECKING, Any

from entangle._log import Log
from entangle._run.observing import Called, Observer, checked, observed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

log = Log("entangle.run")


@contextlib.contextmanager
def seeing(
    progress: Any = None,
    trace: Any = None,
    log: Any = None,
    observers: Iterable[Callable[[Any], object]] = (),
) -> Generator[None, None, None]:
    """Have what is begun in a block seen as the arguments of `Node.run` say.

    Raises:
        OptionError: there is no such way to show progress.
        OSError: the trace can't be written.
        TypeError: something among the observers can't be called.
    """
    functions = [(function, checked(function, None)) for function in observers]
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            observed([Called(function, only) for function, only in functions])
        )
        if progress is not None:
            from .progress import progress as shown

            stack.enter_context(shown(progress))
        if log is not None and log is not False:
            from .log import logged

            stack.enter_context(logged() if log is True else logged(log))
        if trace is not None:
            from .trace import trace as traced

            stack.enter_context(traced(trace))
        yield


_known: dict[tuple[int, str, str], tuple[Observer, ...]] = {}


def by_environment(trace: str, progress: str) -> tuple[Observer, ...]:
    """Return the views for what two variables say; the same ones each time.

    Raises:
        OptionError: there is no such way to show progress.
    """
    key = os.getpid(), trace, progress
    views = _known.get(key)
    if views is None:
        views = _known[key] = tuple(_made(trace, progress))
        for view in views:
            atexit.register(view.release)
    return views


def _made(trace: str, progress: str) -> Generator[Observer, None, None]:
    if progress:
        from .progress import Progress, chosen, mode_of

        display = chosen(mode_of(None))
        if display is not None:
            yield Progress(display)
    if trace:
        from .trace import TraceFile

        try:
            yield TraceFile(trace)
        except OSError as error:
            log.warning("no trace is written to ENTANGLE_TRACE=%s: %s", trace, error)
