"""The rules of which facets go together.

Each rule is about two facets, or about one and the kind of the function, so a spec
that breaks one still breaks it after more is added: whether a stack of decorators
is refused never depends on their order.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.target import Settings, Target
from entangle.errors import CompositionError, UnmetCapabilityError

if TYPE_CHECKING:
    from entangle._graph.facets import Facet
    from entangle._graph.spec import Spec

# Facets that need a process which belongs to the call.
_OWN_PROCESS: Final = (
    *("fresh", "preload", "env", "cwd", "nice"),
    *("shared_memory", "cpus", "scheduler"),
)
# What each option needs of an executor, and what is missing without it.
_NEEDS: Final = (
    ("timeout", "kill", "it cannot end a running call"),
    ("fresh", "fresh", "it has no fresh processes to give"),
    ("preload", "fresh", "it has no fresh processes to give"),
    ("env", "process", "its calls share a process"),
    ("cwd", "process", "its calls share a process"),
    ("nice", "process", "its calls share a process"),
    ("shared_memory", "shared_memory", "its calls share no memory with others"),
    ("cpus", "cpus", "it sets no CPUs aside"),
    ("scheduler", "cpus", "it sets no CPUs aside"),
)
# Values that ask for nothing, so that every place honours them.
_NOTHING_ASKED: Final = (None, False, ())


def check(spec: Spec, *, task: str, is_async: bool) -> None:
    """Refuse a spec whose facets contradict each other.

    Args:
        spec: The complete spec of a task.
        task: The task's name, for the error.
        is_async: Whether the function is an ``async def``.

    Raises:
        CompositionError: If two decorators exclude each other.
        UnmetCapabilityError: If an option cannot be honoured where the task runs.
    """
    firing = spec.facet("firing")
    if firing is not None and firing.value == "workflow":
        _check_workflow(spec, firing, task=task, is_async=is_async)
    executor = spec.facet("executor")
    if executor is not None and executor.value is not None:
        _exclude(spec, executor, ("where",), "each says where the task runs", task)
        _check_executor(spec, executor, task=task)
    for facet in spec.facets:
        if isinstance(facet.value, Settings) and facet.value.of.excludes:
            why = f"{facet.decorator} does not go with it"
            names = facet.value.of.excludes
            keys = (other.key for other in spec.facets if names & _names_of(other))
            _exclude(spec, facet, tuple(keys), why, task)
    where = spec.facet("where")
    source = spec.facet("source")
    if where is not None and isinstance(where.value, Target):
        if source is not None and where.value.of.calls_like is not None:
            why = f"{where.decorator} has the work itself and takes its own arguments"
            _exclude(spec, source, ("where",), why, task)
        _check_executor(spec, where, task=task)
    how = spec.facet("how")
    if how is not None and how.value == "thread":
        _check_thread(spec, how, task=task, is_async=is_async)
    cpus = spec.facet("cpus")
    if cpus is not None and cpus.value is not None:
        _exclude(spec, cpus, ("scheduler",), "each says which CPUs a call gets", task)


def _check_workflow(spec: Spec, workflow: Facet, *, task: str, is_async: bool) -> None:
    if is_async:
        raise CompositionError(
            f"{task}: {workflow} decorates an async def, but the body of a workflow "
            "never runs on an event loop; make it a plain function that returns nodes, "
            "or use @thread",
            task=task,
            origins=(workflow.origin,),
        )
    why = "its body runs in the caller's process and only builds a graph"
    _exclude(
        spec, workflow, ("how", "where", "executor", "cpus", "scheduler"), why, task
    )
    _refuse(spec, workflow, _OWN_PROCESS, f"{why}: state it on the tasks inside", task)
    _refuse(
        spec,
        workflow,
        ("timeout",),
        "a running body cannot be ended there: state it on the tasks inside, or give "
        "the run one with run(timeout=...)",
        task,
    )


def _check_thread(spec: Spec, thread: Facet, *, task: str, is_async: bool) -> None:
    _refuse(
        spec,
        thread,
        _OWN_PROCESS,
        "a thread shares the caller's process: use @process instead",
        task,
    )
    if not is_async:
        _refuse(
            spec,
            thread,
            ("timeout",),
            "a running thread cannot be ended: use @process, or make the function an "
            "async def",
            task,
        )


def _check_executor(spec: Spec, executor: Facet, *, task: str) -> None:
    """Refuse what a place does not honour; a foreign executor tells nothing."""
    place = executor.value
    named = isinstance(place, str)  # what it honours is known when it is looked up
    ours = capabilities_of(place)
    if (ours is None and not named) or spec.value("how") == "thread":
        _exclude(spec, executor, ("how",), "an executor decides how it runs", task)
    if not named:
        advice = ": use @process" if ours is None else "; drop one of them"
        for key, why in unmet(ours):
            _refuse(spec, executor, (key,), why + advice, task)


def _names_of(facet: Facet) -> set[str]:
    """Return the names of decorators that a facet stands for."""
    if isinstance(facet.value, Settings):
        return {facet.value.of.name}
    if facet.key in {"how", "firing", "where"}:
        return {str(facet.value)}
    if facet.key == "cpus":
        return {"local"}
    return {facet.key}


def capabilities_of(place: object) -> object:
    """Read what a place honours; None for a foreign executor, which cannot tell."""
    if isinstance(place, Target):
        place = place.of.make
    # The module is of a higher layer, and loaded wherever such an object exists.
    seam: Any = sys.modules.get("entangle._seam.executor")
    if seam is None:
        return None
    ours = isinstance(place, type) and issubclass(place, seam.Executor)
    if not ours and not isinstance(place, seam.Executor):
        return None
    capabilities: object = getattr(place, "capabilities", None)
    return capabilities


def unmet(capabilities: object) -> list[tuple[str, str]]:
    """Return the options that a place cannot honour, each with the reason."""
    return [
        (key, why)
        for key, capability, why in _NEEDS
        if not getattr(capabilities, capability, False)
    ]


def asked(value: object) -> bool:
    """Tell whether the value of an option asks for anything."""
    return value not in _NOTHING_ASKED


def _exclude(
    spec: Spec, facet: Facet, keys: tuple[str, ...], why: str, task: str
) -> None:
    for key in keys:
        other = spec.facet(key)
        if other is not None and other.value not in _NOTHING_ASKED:
            raise CompositionError(
                f"{task}: {facet} and {other} exclude each other: {why}; drop one",
                task=task,
                origins=(facet.origin, other.origin),
            )


def _refuse(
    spec: Spec, facet: Facet, keys: tuple[str, ...], why: str, task: str
) -> None:
    for key in keys:
        other = spec.facet(key)
        if other is not None and other.value not in _NOTHING_ASKED:
            raise UnmetCapabilityError(
                f"{task}: {facet} cannot honour {other}: {why}",
                option=key,
                task=task,
                origins=(facet.origin, other.origin),
            )
