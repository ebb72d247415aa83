"""The options that each decorator takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle._graph import values
from entangle.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CHECKS: Final[Mapping[str, Callable[[Any], object]]] = {
    "timeout": values.duration,
    "wait": values.duration,
    "start": values.duration,
    "retry": values.at_least(0),
    "sleep": values.pause,
    "backoff": values.factor,
    "retry_on": values.errors,
    "retry_error": values.flag,
    "limit": values.count,
    "fresh": values.flag,
    "preload": values.modules,
    "env": values.environment,
    "cwd": values.directory,
    "nice": values.niceness,
    "shared_memory": values.flag,
    "executor": values.executor,
    "cache": values.caching,
    "version": values.version,
    "cache_key": values.function,
    "cache_ignore": values.names,
    "cpus": values.count,
    "impl": values.implementation,
    "callback": values.callback,
    "maxworkers": values.count,
}

POLICY: Final = (
    "timeout",
    "wait",
    "start",
    "retry",
    "sleep",
    "backoff",
    "retry_on",
    "retry_error",
    "limit",
    "cache",
    "version",
    "cache_key",
    "cache_ignore",
)
PROCESS: Final = ("fresh", "preload", "env", "cwd", "nice", "shared_memory")

# Which decorators take which options, in the order in which help lists them.
TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "process": POLICY + PROCESS,
    "thread": POLICY,
    "workflow": POLICY,
    "dataflow": ("callback", "executor", "maxworkers"),
    "task": (*POLICY, *PROCESS, "executor"),
    "local": ("cpus",),
    "scheduler": ("cpus", "impl"),
}


def checked(decorator: str, options: Mapping[str, object]) -> dict[str, object]:
    """Check the options given to a decorator.

    Args:
        decorator: The decorator's name.
        options: What was given, by name.

    Returns:
        The options in their plain, hashable form.

    Raises:
        OptionError: If one is unknown or has an unusable value.
    """
    plain: dict[str, object] = {}
    for name, value in options.items():
        if name not in TAKES[decorator]:
            reason = _unknown(decorator, name)
            raise OptionError(reason, decorator=decorator, option=name)
        try:
            plain[name] = _CHECKS[name](value)
        except values.Refusal as refusal:
            reason = f"{decorator}(): {name} {refusal}"
            raise OptionError(reason, decorator=decorator, option=name) from None
    return plain


def _unknown(decorator: str, name: str) -> str:
    """Say that an option does not exist here, and what may have been meant."""
    # Imported here: only a mistake needs it.
    from difflib import get_close_matches

    known = TAKES[decorator]
    text = f"{decorator}() has no option {name!r}"
    elsewhere = [
        f"@{other}"
        for other, names in TAKES.items()
        # There it says where others run.
        if name in names and (other, name) != ("dataflow", "executor")
    ]
    close = get_close_matches(name, known, n=1)
    if name in PROCESS:
        return f"{text}: it needs a process of its own; use @process({name}=...)"
    if elsewhere:
        return f"{text}; it is an option of {' and '.join(elsewhere)}"
    if close:
        return f"{text}; did you mean {close[0]!r}?"
    return f"{text}; its options are {', '.join(known)}"


def positional(decorator: str, value: object) -> OptionError:
    """Make the error for a first argument that is no function."""
    first = TAKES[decorator][0]
    if isinstance(value, (int, float, str)) or value is None:
        return OptionError(
            f"{decorator}() decorates a function, and {value!r} is none; options are "
            f"given by name: {decorator}({first}={value!r})",
            decorator=decorator,
            option="",
        )
    return OptionError(
        f"{decorator}() decorates a function, class or other callable, not "
        f"{type(value).__qualname__} {values.brief(value)}",
        decorator=decorator,
        option="",
    )
