"""What the run layer reads of a task: its spec, resolved to plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.target import Settings


class SchedulerOptions(NamedTuple):
    """What ``@scheduler`` asks for.

    Attributes:
        cpus: How many CPUs the tasks that carry it share.
        impl: A class, or the dotted path of one, that follows
            `entangle.scheduler.CpuScheduler`; None for the default.
    """

    cpus: int
    impl: object | None = None


class Options(NamedTuple):
    """The resolved options of one task. Durations are seconds.

    Attributes:
        how: ``'process'``, ``'thread'``, ``'workflow'`` or, for nodes whose value is
            only put together from their inputs, ``'assemble'``.
        source: What supplies the function's last argument, None if its caller does.
        executor: The place that was given, if any: a `Target`, the name of an
            executor, or a `concurrent.futures.Executor`.
        timeout: How long the body of one attempt may run.
        wait: How long the arguments may take.
        start: How long a place may take from ready to started.
        retry: How many attempts there may be after the first.
        sleep: The pause before the second attempt.
        backoff: The factor by which the pause grows.
        retry_on: The errors that are worth another attempt.
        retry_error: Whether `ProcessRetryException` is raised instead of the last
            error.
        limit: How many calls of this task may run at once.
        fresh: Whether each call gets a process that ran nothing before.
        preload: The modules that such a process already holds.
        env: Additional environment variables.
        cwd: The working directory.
        nice: The increment of the niceness.
        shared_memory: Whether the function is given ``smm`` and ``sm``.
        cpus: How many CPUs one call holds at most; None for one, unpinned.
        scheduler: The CPUs that are shared with other tasks, if any.
        cache: Whether values are kept: True for on disk, ``'run'`` for the length of
            one run.
        version: What the key of a kept value has besides, None for nothing.
        cache_key: What is called with a call's arguments and gives what stands for
            them in the key; None for the arguments themselves.
        cache_ignore: The names of parameters and globals that don't count for the key.
        tolerant: Whether failures of the inputs arrive as values.
        push: Whether a call fires when its inputs are decided, with those that ran.
        is_async: Whether calling the function gives a coroutine.
    """

    how: str = "process"
    source: Settings | None = None
    executor: object | None = None
    timeout: float | None = None
    wait: float | None = None
    start: float | None = None
    retry: int = 0
    sleep: float = 0.0
    backoff: float = 1.0
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    retry_error: bool = False
    limit: int | None = None
    fresh: bool = False
    preload: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] | None = None
    cwd: str | None = None
    nice: int | None = None
    shared_memory: bool = False
    cpus: int | None = None
    scheduler: SchedulerOptions | None = None
    cache: bool | str = False
    version: str | int | None = None
    cache_key: Callable[..., Any] | None = None
    cache_ignore: tuple[str, ...] = ()
    tolerant: bool = False
    push: bool = False
    is_async: bool = False
