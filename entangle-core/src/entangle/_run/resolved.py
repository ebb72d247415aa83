"""What a task's place is in the end: a replacement, a name looked up, options left out."""

from __future__ import annotations

import concurrent.futures
import warnings
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


HERE = frozenset({"inline", "process", "thread"})


class Resolved(NamedTuple):
    """Where the calls of a task run, which says more than its own *how*.

    Attributes:
        key: What is equal for tasks that share an executor; None for an executor
            object that was given, which is its owner's.
        make: Makes the executor, or gives the one that was given; None where the task
            runs on this machine, by its *how*.
        label: Whose it is, for messages.
        name: The name of the decorator or executor; empty for an object.
        options: The task's options, with the place that replaces its own and without
            what that can't honour.
        relaxed: The names of what was left out, each with the reason.
    """

    key: Hashable
    make: Callable[[], Executor] | None
    label: str
    name: str
    options: Options
    relaxed: tuple[tuple[str, str], ...] = ()


def resolve(task: Task[..., Any], targets: Mapping[str, str]) -> Resolved:
    """Find the executor of a task that says where it runs.

    Args:
        task: The task.
        targets: What replaces which target, by name.

    Raises:
        PluginError: no executor of that name.
        UnmetCapabilityError: an option that the executor of that name can't honour.
        CompositionError: a place that can't be replaced is to be; a partner is missing.
    """
    options = task.options
    place: Any = options.executor
    name = name_of(place)
    if not name:
        given = place if isinstance(place, Executor) else ForeignExecutor(place)
        return Resolved(None, lambda: given, type(place).__name__, "", options)
    # Places of this process and its workers are here already.
    others = name if place in HERE else targets.get(ANY, name)
    replacement = targets.get(name, others)
    if replacement == name:
        if isinstance(place, Target):
            return _of_target(place, options)
        return _strict(task, _by_name(place, task, options))
    refuse_to_replace(task, f"{TARGETS} replaces it by {replacement}")
    if replacement == LOCAL:
        return Resolved(LOCAL, None, "", LOCAL, options._replace(executor=None))
    options = options._replace(executor=replacement)
    return _relaxed(_by_name(replacement, task, options))


def name_of(place: object) -> str:
    """Return the name of a place; empty for an executor object that was given."""
    if isinstance(place, Target):
        return place.of.name
    return place if isinstance(place, str) else ""


def refuse_to_replace(task: Task[..., Any], how: str) -> None:
    """Refuse another place for a task whose work is at its own.

    Raises:
        CompositionError: it is.
    """
    place = task.options.executor
    if isinstance(place, Target) and place.of.calls_like is not None:
        raise CompositionError(
            f"{task.name} is done by {place!r}: the work is at that place and not in "
            f"the body of {task.name}, so no other can do it, and {how}; leave "
            f"{place.of.name} out of it",
            task=task.name,
        )


def _of_target(place: Target, options: Options) -> Resolved:
    place.check_partners()
    label = f"@{place.of.name} of {place.of.module}"
    return Resolved(place, place.made, label, place.of.name, options)


def _by_name(name: str, task: Task[..., Any], options: Options) -> Resolved:
    plugin, offered = plugins.executor(name)
    if isinstance(offered, Located):
        stated = {facet.key: facet.value for facet in task.spec.facets}
        target = offered.target.beside(stated)
        target.check_partners()
        return Resolved(target, target.made, plugin.label(), name, options)
    factory: Any = offered

    def make() -> Executor:
        made = factory()
        if isinstance(made, Executor):
            return made
        if not isinstance(made, concurrent.futures.Executor):
            raise TypeError(f"{made!r} is no executor")
        return ForeignExecutor(made, owned=True)

    return Resolved(("named", name), make, plugin.label(), name, options)


def declared(resolved: Resolved, given: object = None) -> object:
    """Return the capabilities of a task's place; None if it doesn't tell.

    Args:
        resolved: Where the task runs in the end.
        given: The executor object that it names, if it does.
    """
    offered: Any = given
    if isinstance(resolved.key, Target):
        offered = resolved.key
    elif resolved.name:
        _, offered = plugins.executor(resolved.name)
    return rules.capabilities_of(offered)


def _unmet(resolved: Resolved) -> tuple[tuple[str, str], ...]:
    """Return the options that a named executor can't honour, with the reason."""
    return tuple(
        (option, why)
        for option, why in rules.unmet(declared(resolved))
        if rules.asked(getattr(resolved.options, option))
    )


def _strict(task: Task[..., Any], resolved: Resolved) -> Resolved:
    for option, why in _unmet(resolved):
        raise UnmetCapabilityError(
            f"{task.name}: the executor {resolved.name!r} cannot honour "
            f"{option}={getattr(task.options, option)!r}: {why}; leave it out",
            option=option,
            task=task.name,
        )
    return resolved


def _relaxed(resolved: Resolved) -> Resolved:
    left_out = _unmet(resolved)
    plain = type(resolved.options)()
    changes = {option: getattr(plain, option) for option, _ in left_out}
    options = resolved.options._replace(**changes)
    return resolved._replace(options=options, relaxed=left_out)


def warn_relaxed(task: str, resolved: Resolved) -> None:
    """Say once for a task what the place that replaces its own can't honour."""
    options = "; ".join(f"{option}: {why}" for option, why in resolved.relaxed)
    warnings.warn(
        f"{task} runs in {resolved.name}, which replaces its own place and cannot "
        f"honour all of its options ({options}): left out for this run",
        RuntimeWarning,
        stacklevel=2,
    )
