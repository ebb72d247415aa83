"""What a plugin can add to Entangle: hooks, and how they are called.

A plugin is a light module with functions that carry `hookimpl` and have the names and
(some of) the parameters below. Its distribution names it in the entry-point group
``entangle``, and the module says which version of this interface it was written for::

    # pyproject.toml
    [project.entry-points.entangle]
    onprem = "entangle_onprem.plugin"

    # entangle_onprem/plugin.py
    from entangle.hooks import hookimpl

    ENTANGLE_SPI = 1

    @hookimpl
    def entangle_executors():
        from entangle_onprem import OnpremExecutor

        return {"onprem": OnpremExecutor}

Plugins are loaded when they are needed: when a name is looked up, a run begins that
they may want to observe, or a command of ``entangle`` asks for them. A plugin that
can't be loaded, or whose hook raises, is reported by ``entangle plugins`` and in the
log, and harms nothing else. ``ENTANGLE_DISABLE_PLUGINS`` switches them off: ``1`` for
all, or names with commas between them.

Hooks add and observe; none steers a run. Each is called by itself, so that an error in
one plugin does not keep another from being called; wrappers are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pluggy

from entangle._seam.extensions import Benchmark, Command, Finding, Leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from entangle._seam.events import Event, RunStarted
    from entangle._seam.planned import PlannedTask

__all__ = [
    "SPI_VERSION",
    "Benchmark",
    "Command",
    "Finding",
    "Leftover",
    "entangle_bench",
    "entangle_commands",
    "entangle_doctor",
    "entangle_estimate",
    "entangle_executors",
    "entangle_observe",
    "entangle_sweep",
    "hookimpl",
    "hookspec",
]

SPI_VERSION: Final = 1
"""The version of this interface. It grows when a plugin has to be changed for it."""

hookspec = pluggy.HookspecMarker("entangle")
hookimpl = pluggy.HookimplMarker("entangle")


@hookspec
def entangle_executors() -> Mapping[str, Callable[[], Any]]:
    """Name executors, for ``@task(executor="name")`` and ``ENTANGLE_TARGETS``.

    Called once, when the first name is looked up or listed, on the thread that asks,
    which waits for it: return at once, and import what is heavy in the factory.

    Returns:
        By name, a subclass of `entangle.backend.Executor` whose options all have
        defaults, a decorator made by `entangle.backend.infrastructure` likewise, or
        any callable that gives a `concurrent.futures.Executor`. What it makes belongs
        to Entangle, which shuts it down when it is not used any more. Names of core
        are taken; a name that two plugins give can't be used.
    """
    raise NotImplementedError


@hookspec
def entangle_observe(run: RunStarted) -> Callable[[Event], object] | None:
    """Say who wants to see the events of a run.

    Called once for each run of the caller's process before it begins, on the thread
    that starts the run, which waits for it: return at once.

    Args:
        run: The run's first event, which the observer gets too.

    Returns:
        A function that is called with each event, in order, on one thread that serves
        all observers and nothing else. It blocks other observers, never a run: one
        that is 100,000 events behind gets no more but the last, which says how many
        were dropped. If it raises, it is logged, named and not called again for that
        run. The caller of a run does not wait until its events are seen; at the exit
        of the program they are given a second. None for none.
    """
    raise NotImplementedError


@hookspec
def entangle_commands() -> Iterable[Command]:
    """Add commands to ``entangle``.

    Called when a command is asked for that core does not have, or all are listed, on
    the main thread of the command line.

    Returns:
        The commands. Names of core, and of earlier plugins, are taken.
    """
    raise NotImplementedError


@hookspec
def entangle_bench() -> Iterable[Benchmark]:
    """Add rows to the table of ``entangle bench``.

    Called by that command on its main thread, which waits for it, also where its help
    is asked for: return at once, and leave to `Benchmark.missing` what takes longer.

    Returns:
        The rows, each with what it is measured beside.
    """
    raise NotImplementedError


@hookspec
def entangle_doctor() -> Iterable[Finding]:
    """Check whether what the plugin needs is there: an engine, credentials, a network.

    Called by ``entangle doctor`` on its main thread, which waits for it: take a second
    or two at most, and change nothing.

    Returns:
        What was found, and what to do about it.
    """
    raise NotImplementedError


@hookspec
def entangle_estimate(task: PlannedTask) -> Iterable[str]:
    """Tell what is known beforehand of a task's calls at one of the plugin's places.

    Called by ``node.plan()`` for each task of the graph whose place is not in this
    process or its workers, on the thread that asks, which waits for it. Nothing runs.

    Args:
        task: What would run where.

    Returns:
        Lines for people: which credentials and image are used, limits; what a call
        costs as `entangle.run.Price`, which has the figures for budgets, too. Without
        one, calls at a place that declares itself `paid` are refused under
        ``budget(usd=)``, by an error that has these lines: say in one why.
    """
    raise NotImplementedError


@hookspec
def entangle_sweep(older_than: float) -> Iterable[Leftover]:
    """Find what runs have left behind in the plugin's infrastructure.

    Called by ``entangle sweep`` on its main thread, which waits for it. Finding must
    remove nothing: each leftover says how it is removed.

    Args:
        older_than: Only what is older than so many seconds.

    Returns:
        What is nobody's any more: of runs whose process is gone.
    """
    raise NotImplementedError
