"""What a task's place is in the end: a replacement, a name looked up, options left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from entangle._graph import rules
from entangle._graph.configured import Located
from entangle._graph.target import Target
from entangle._seam.executor import Executor
from entangle._seam.plugins import plugins
from entangle.errors import CompositionError, UnmetCapabilityError

from .foreign import ForeignExecutor
from .replaced import ANY, LOCAL, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from entangle._graph.options import Options
    from entangle._graph.task import Task


class Resolved(NamedTuple):
    """Where the calls of a task run, if not by its own *how*.

    Attributes:
        key: What is equal for tasks that share an executor; None for an executor
            object that was given, which is its owner's.
        make: Makes the executor, or gives the one that was given.
        label: Whose it is, for messages.
        name: The name of the decorator or executor; empty for an object.
        options: The task's options without those that are left out.
        relaxed: The names of those, each with the reason.
    """

    key: Hashable
    make: Callable[[], Executor]
    label: str
    name: str
    options: Options
    relaxed: tuple[tuple[str, str], ...] = ()


def resolve(task: Task[..., Any], targets: Mapping[str, str]) -> Resolved | None:
    """Find the executor of a task that says where it runs.

    Args:
        task: The task.
        targets: What replaces which target, by name.

    Returns:
        The executor; None where the task runs on this machine, by its own *how*.

    Raises:
        PluginError: no executor of that name.
        UnmetCapabilityError: an option that the executor of that name can't honour.
        CompositionError: a place that can't be replaced is to be.
    """
    options = task.options
    place: Any = options.executor
    if isinstance(place, Target):
        name = place.of.name
    elif isinstance(place, str):
        name = place
    else:
        given = place if isinstance(place, Executor) else ForeignExecutor(place)
        return Resolved(None, lambda: given, type(place).__name__, "", options)
    replacement = targets.get(name, targets.get(ANY, name))
    if replacement == name:
        if isinstance(place, Target):
            return _of_target(place, options)
        return _strict(task, _by_name(place, options))
    if isinstance(place, Target) and place.of.calls_like is not None:
        raise CompositionError(
            f"{task.name}: {TARGETS} replaces {place!r} by {replacement}, but the work "
            f"is at that place and not in the body of {task.name}: leave {name} out "
            "of it",
            task=task.name,
        )
    if replacement == LOCAL:
        return None
    return _relaxed(_by_name(replacement, options))


def _of_target(place: Target, options: Options) -> Resolved:
    place.check_partners()
    label = f"@{place.of.name} of {place.of.module}"
    return Resolved(place, place.made, label, place.of.name, options)


def _by_name(name: str, options: Options) -> Resolved:
    plugin, offered = plugins.executor(name)
    if isinstance(offered, Located):
        target = offered.target
        return Resolved(target, target.made, plugin.label(), name, options)
    factory: Any = offered

    def make() -> Executor:
        made = factory()
        if isinstance(made, Executor):
            return made
        return ForeignExecutor(made, owned=True)

    return Resolved(("named", name), make, plugin.label(), name, options)


def _capabilities(resolved: Resolved) -> Any:
    """Read what a named executor honours; None where only the object can tell."""
    if isinstance(resolved.key, Target):
        return rules.capabilities_of(resolved.key)
    _, factory = plugins.executor(resolved.name)
    return rules.capabilities_of(factory)


def unmet(resolved: Resolved) -> tuple[tuple[str, str], ...]:
    """Return the options that a named executor can't honour, with the reason."""
    return tuple(
        (option, why)
        for option, why in rules.unmet(_capabilities(resolved))
        if rules.asked(getattr(resolved.options, option))
    )


def _strict(task: Task[..., Any], resolved: Resolved) -> Resolved:
    for option, why in unmet(resolved):
        raise UnmetCapabilityError(
            f"{task.name}: the executor {resolved.name!r} cannot honour "
            f"{option}={getattr(task.options, option)!r}: {why}; leave it out",
            option=option,
            task=task.name,
        )
    return resolved


def _relaxed(resolved: Resolved) -> Resolved:
    left_out = unmet(resolved)
    if not left_out:
        return resolved
    plain = type(resolved.options)()
    changes = {option: getattr(plain, option) for option, _ in left_out}
    options = resolved.options._replace(**changes)
    return resolved._replace(options=options, relaxed=left_out)
