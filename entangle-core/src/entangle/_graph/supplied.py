"""A function with the source of its last argument: what is called in its place."""

from __future__ import annotations

import _thread
import os
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._graph.arity import parameters_of
from entangle._graph.callables import innermost, is_async, name_of
from entangle.errors import CompositionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from entangle._graph.facets import Facet
    from entangle._graph.options import Options
    from entangle._graph.target import Settings

# What a function that shares memory is given, beside what its callers give.
SHARED_MEMORY: Final = ("smm", "sm")


class Asked(NamedTuple):
    """What a source is asked for: one call of a task.

    Attributes:
        values: The positional arguments of the call, without those that a method
            is bound to: none or one, unless the source allows more.
        parameters: The keyword arguments of the call.
        function: The function that takes what is supplied; to look at.
        attempt: Which attempt of the call this is, from 1 on.
        travels: Whether the value goes on to another thread or process before the
            function takes it, or is the value of the call itself.
    """

    values: tuple[Any, ...]
    parameters: dict[str, Any]
    function: Callable[..., Any]
    attempt: int
    travels: bool


class Supplied:
    """Stands for a function whose last argument comes from a source.

    Calls have the arguments of the task's call, then the number of the attempt. Where
    the function runs elsewhere the value is given back instead of going to it.
    """

    __slots__ = ("elsewhere", "fn", "leading", "shares", "source")

    # As `Arity` has it: every call is to be looked at.
    low: Final = 1
    high: Final = 0

    def __init__(
        self,
        source: Settings,
        fn: Callable[..., Any],
        *,
        shares: bool = False,
        elsewhere: bool = False,
    ) -> None:
        """Put the two together.

        Args:
            source: What supplies the argument.
            fn: The function.
            shares: Whether it is given ``smm`` and ``sm``.
            elsewhere: Whether it is called by somebody else, with the value.
        """
        self.source = source
        self.fn = fn
        self.shares = shares
        self.elsewhere = elsewhere
        self.leading = _leading(fn)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check a call of the task, where it is written.

        Raises:
            TypeError: the source has no use for such arguments.
        """
        name = name_of(self.fn)
        if len(args) < self.leading:
            raise TypeError(f"{name}() is a method: call it on an instance")
        try:
            made(self.source).check_call(len(args) - self.leading, tuple(kwargs))
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Have the argument supplied and call the function with it."""
        *values, attempt = args
        first, values = values[: self.leading], values[self.leading :]
        handles: dict[str, Any] = {}
        if self.shares:
            handles = {name: kwargs.pop(name) for name in SHARED_MEMORY}
        gives = self.elsewhere or is_empty(self.fn)
        asked = Asked(tuple(values), kwargs, self.fn, attempt, gives)
        if is_async(self.fn) and not self.elsewhere:
            return self._later(asked, first, handles)
        with made(self.source).supply(asked) as value:
            return value if gives else self.fn(*first, value, **handles)

    async def _later(
        self, asked: Asked, first: Iterable[Any], handles: dict[str, Any]
    ) -> Any:
        # In a process of its own, which has nothing else to do meanwhile.
        with made(self.source).supply(asked) as value:
            if asked.travels:
                return value
            return await self.fn(*first, value, **handles)


def runs_elsewhere(options: Options) -> bool:
    """Tell whether a function can't be called by whoever asks its source.

    It runs at another place, or on an event loop, which must not wait.
    """
    if options.executor is not None:
        return True
    return options.is_async and options.how == "thread"


def asking(options: Options) -> Options:
    """Return how a source is asked whose function runs elsewhere: by a local worker."""
    return options._replace(
        executor=None,
        env=None,
        cwd=None,
        nice=None,
        cpus=None,
        scheduler=None,
        fresh=False,
        preload=(),
        shared_memory=False,
        start=None,
        is_async=False,
    )


def going_on(options: Options) -> Options:
    """Return how a function runs elsewhere that is called with what was supplied."""
    return options._replace(
        source=None,
        wait=None,
        cache=False,
        version=None,
        cache_key=None,
        cache_ignore=(),
        push=False,
    )


def check(
    fn: Any, options: Options, facet: Facet, place: Facet | None, name: str
) -> None:
    """Refuse a function that can't take what a source supplies.

    Args:
        fn: The function.
        options: How it runs.
        facet: Which source supplies its argument.
        place: Where it runs, if that was said.
        name: What the task is called.

    Raises:
        CompositionError: it takes nothing, or more; or the source refuses it.
    """
    settings: Any = facet.value
    problem = _problem(fn)
    if not problem:
        travels = is_empty(fn) or runs_elsewhere(options)
        try:
            made(settings).check_function(fn, travels=travels)
        except (TypeError, ValueError) as error:
            problem = str(error)
    if problem:
        there = "" if place is None else f", which runs by {place}"
        raise CompositionError(
            f"{name}: {facet} supplies the argument of the function{there}, and "
            f"{problem}",
            task=name,
            origins=[each.origin for each in (facet, place) if each is not None],
        )


def _problem(fn: Any) -> str:
    parameters = parameters_of(fn)
    if parameters is None:
        return ""
    if parameters.required:
        return f"it needs the keyword {parameters.required[0]!r}, too"
    needed = len(parameters.positional) - parameters.optional
    if not parameters.positional and not parameters.more:
        return f"it takes none: write def {name_of(fn).rpartition('.')[2]}(data)"
    most = 2 if _is_method(fn) else 1
    if needed > most:
        return (
            f"it needs more than one: {', '.join(parameters.positional)}; what is "
            "given to a call goes to the source"
        )
    return ""


def _leading(fn: Any) -> int:
    """Return how many positional arguments of a call come before what is supplied."""
    parameters = parameters_of(fn)
    if parameters is None or not _is_method(fn):
        return 0
    needed = len(parameters.positional) - parameters.optional
    return min(1, max(0, needed - 1))


def _is_method(fn: Any) -> bool:
    outer, _, _ = name_of(fn).rpartition(".")
    return type(fn) is FunctionType and bool(outer) and not outer.endswith("<locals>")


def _nothing(data: Any) -> Any: ...


async def _nothing_later(data: Any) -> Any: ...


def _steps(function: Any) -> list[tuple[str, object]]:
    # Imported here: most programs have no source.
    import dis

    return [
        (each.opname, each.argval)
        for each in dis.get_instructions(function)
        if each.opname not in {"NOP", "COPY_FREE_VARS"}
    ]


_EMPTY: dict[object, bool] = {}
_MOST_KNOWN: Final = 1024


def is_empty(fn: Any) -> bool:
    """Tell whether a function has no body: ``...``, ``pass`` or a docstring alone."""
    code = getattr(innermost(fn), "__code__", None)
    if code is None:
        return False
    known = _EMPTY.get(code)
    if known is None:
        if len(_EMPTY) >= _MOST_KNOWN:
            _EMPTY.clear()
        like = _nothing_later if is_async(fn) else _nothing
        known = _EMPTY[code] = _steps(code) == _steps(like)
    return known


_sources: dict[Settings, Any] = {}
making = _thread.allocate_lock()


def _in_forked_child() -> None:
    global making  # noqa: PLW0603 - it may have been held at the fork
    making = _thread.allocate_lock()
    _sources.clear()  # what they hold is the parent's


os.register_at_fork(after_in_child=_in_forked_child)


def made(settings: Settings) -> Any:
    """Return this process's own source for these settings; made at first use."""
    source = _sources.get(settings)
    if source is None:
        with making:
            source = _sources.get(settings)
            if source is None:
                source = _sources[settings] = settings.made()
    return source


def close_all() -> None:
    """Let this process's sources go of what they hold; they are made anew when used."""
    with making:
        sources = list(_sources.values())
        _sources.clear()
    for source in sources:
        source.close()
