"""What would run where, and what is refused: without running."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from entangle._clean import clean
from entangle._graph import rules
from entangle._graph.flow import Flow
from entangle._graph.target import Target
from entangle._graph.walk import edges
from entangle._seam.planned import PlannedTask
from entangle._seam.plugins import plugins
from entangle.errors import EntangleError

from .discover import discover, is_node
from .inline import left_out
from .replaced import ANY, TARGETS, inline, replacements
from .reporting.source import short
from .resolved import (
    HERE,
    Resolved,
    declared,
    name_of,
    refuse_to_replace,
    resolve,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from entangle._graph.node import Node
    from entangle._graph.target import Settings
    from entangle._graph.task import Task

_OWN = {"process": "process", "thread": "thread", "workflow": "caller"}


class Plan:
    """What would become of a graph.

    Attributes:
        tasks: One entry for each task of the graph, in the order of their first
            nodes. What workflows return is not known before they run.
        unused: The names in ``ENTANGLE_TARGETS`` that are no place of the graph, each
            with the name that was perhaps meant.
    """

    __slots__ = ("tasks", "unused")

    def __init__(
        self, tasks: tuple[PlannedTask, ...], unused: Mapping[str, str]
    ) -> None:
        """Keep the entries."""
        self.tasks = tasks
        self.unused = unused

    @property
    def refused(self) -> tuple[PlannedTask, ...]:
        """The tasks that can't run where they say; the run would fail at its start."""
        return tuple(task for task in self.tasks if task.refused)

    @property
    def calls(self) -> int:
        """How many calls there would be."""
        return sum(task.calls for task in self.tasks)

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, as ``entangle plan --json`` prints it."""
        return {
            "tasks": [
                {each.name: getattr(task, each.name) for each in fields(task)}
                for task in self.tasks
            ],
            "unused": dict(self.unused),
        }

    def __str__(self) -> str:
        """Show it as text: a paragraph for each task, then what they come to."""
        lines = [clean(line) for task in self.tasks for line in _lines(task)]
        for name, meant in self.unused.items():
            hint = f"; did you mean {meant!r}?" if meant else ""
            lines.append(f"{TARGETS}: {name!r} replaces nothing here{hint}")
        if len(self.tasks) > 1:
            lines.append(self._total())
        return "\n".join(lines)

    def _total(self) -> str:
        cached = sum(task.cached or 0 for task in self.tasks)
        parts = [f"{self.calls:,} calls of {len(self.tasks):,} tasks"]
        parts += [f"{cached:,} kept already"] * bool(cached)
        parts += [f"{len(self.refused):,} refused"] * bool(self.refused)
        return ", ".join(parts)

    def __repr__(self) -> str:
        """Show how much there is."""
        return f"<plan of {len(self.tasks)} tasks, {len(self.refused)} refused>"


def plan(root: Node[Any] | Flow) -> Plan:
    """Say what would run where; see `Node.plan` and `Flow.plan`."""
    targets = replacements()
    nodes: dict[Task[..., Any], list[Node[Any]]] = {}
    calls: Iterable[Any]
    if isinstance(root, Flow):
        calls = [stage.node for stage in root.program.stages if not stage.chooses]
    else:
        calls = discover(root).order
    for edge in calls:
        if is_node(edge) and edge.task.options.how != "assemble":
            nodes.setdefault(edge.task, []).append(edge)
    return Plan(
        tuple(_planned(task, calls, targets) for task, calls in nodes.items()),
        _unused(targets, {name_of(task.options.executor) for task in nodes}),
    )


def planned(task: Task[..., Any]) -> PlannedTask:
    """Return what would become of a call of a task, by what it costs too."""
    node = SimpleNamespace(where="", args=(), kwargs=None)
    return _noted(task, _entry(task, cast("Any", [node]), replacements()))


def _unused(targets: dict[str, str], there: set[str]) -> dict[str, str]:
    from difflib import get_close_matches

    unused: dict[str, str] = {}
    for name in targets:
        if name != ANY and name not in there:
            close = get_close_matches(name, there, n=1)
            unused[name] = close[0] if close else ""
    return unused


def _planned(
    task: Task[..., Any], calls: list[Node[Any]], targets: dict[str, str]
) -> PlannedTask:
    return _noted(task, _cached(_entry(task, calls, targets), task, calls))


def _noted(task: Task[..., Any], entry: PlannedTask) -> PlannedTask:
    """Add what is known of a task's calls beforehand, by us and by plugins."""
    if entry.refused:
        return entry
    notes = _ahead(task, entry)
    if entry.target:
        told = plugins.each("entangle_estimate", str, task=entry)
        notes = (*notes, *[text for _, text in told])
    return replace(entry, notes=notes)


def _ahead(task: Task[..., Any], entry: PlannedTask) -> tuple[str, ...]:
    """Say who asks the source of a task whose function runs elsewhere."""
    source, place = task.options.source, task.options.executor
    if source is None or place is None or entry.place == "inline":
        return ()
    return (f"a local worker asks @{source.of.name}; what it supplies travels there",)


def _cached(
    entry: PlannedTask, task: Task[..., Any], calls: list[Node[Any]]
) -> PlannedTask:
    """Add how many of the calls are kept on disk; looking is no use of them."""
    if task.options.cache is not True or task.options.push or entry.refused:
        return entry
    from entangle._cache import keys, store

    try:
        shared = keys.of_task(task)
        entries = store.opened()
        found = sum(
            entries.has(keys.of_call(task, node.args, node.kwargs, shared))
            for node in calls
            if not edges(node)
        )
    except EntangleError as error:
        return replace(entry, refused=str(error))
    return replace(entry, cached=found)


def _entry(
    task: Task[..., Any], calls: list[Node[Any]], targets: dict[str, str]
) -> PlannedTask:
    options = task.options
    own = PlannedTask(
        name=task.name,
        calls=len(calls),
        built_at=calls[0].where,
        place=_OWN.get(options.how, options.how),
        asks=tuple(_asked(task)),
    )
    place: Any = options.executor
    if inline():
        return _inline(task, own)
    if place is None:
        return own
    try:
        resolved = resolve(task, targets)
    except EntangleError as error:
        return replace(own, place=_shown(place), refused=str(error))
    if resolved.make is None:
        return replace(own, instead_of=_shown(place))
    return _elsewhere(own, place, resolved)


def _inline(task: Task[..., Any], own: PlannedTask) -> PlannedTask:
    place = task.options.executor
    asked_for = own.place if place is None else _shown(place)
    try:
        refuse_to_replace(task, "ENTANGLE_INLINE runs all in the calling thread")
    except EntangleError as error:
        return replace(own, place=asked_for, refused=str(error))
    why = "the calling thread cannot honour it"
    relaxed = tuple(
        f"{name}: {why}" for name in left_out(task.options) if name != "executor"
    )
    return replace(own, place="inline", instead_of=asked_for, relaxed=relaxed)


def _elsewhere(own: PlannedTask, place: Any, resolved: Resolved) -> PlannedTask:
    target = resolved.key if isinstance(resolved.key, Target) else None
    options: dict[str, object] = {}
    partners: dict[str, dict[str, object]] = {}
    if target is not None:
        options = _told(target)
        partners = {each.of.name: _told(each) for each in target.partners}
    replaced = name_of(place) not in {"", resolved.name}
    return replace(
        own,
        place=_shown(target or resolved.name or place),
        target="" if resolved.name in HERE else resolved.name,
        options=options,
        partners=partners,
        paid=bool(getattr(declared(resolved, place), "paid", False)),
        instead_of=_shown(place) if replaced else "",
        relaxed=tuple(f"{option}: {why}" for option, why in resolved.relaxed),
    )


def _told(settings: Settings) -> dict[str, object]:
    """Return the options of a decorator, without those that are secret."""
    return {
        name: value
        for name, value in settings.arguments().items()
        if name not in settings.of.secrets
    }


def _shown(place: object) -> str:
    try:
        return place if isinstance(place, str) else repr(place)
    except Exception:
        return type(place).__name__


def _asked(task: Task[..., Any]) -> Iterator[str]:
    """Yield the options of a task that ask for something, as they are written."""
    said = {"how", "firing", "where", "executor"}
    for facet in task.spec.facets:
        if facet.key not in said and rules.asked(facet.value):
            yield facet.summary()


def _lines(task: PlannedTask) -> Iterator[str]:
    calls = "1 call" if task.calls == 1 else f"{task.calls:,} calls"
    asks = f", {', '.join(task.asks)}" if task.asks else ""
    yield f"{task.name}: {calls} in {task.place}{asks} ({short(task.built_at)})"
    if task.refused:
        yield f"  refused: {task.refused}"
    if task.cached is not None:
        of = "its value is" if task.calls == 1 else f"{task.cached:,} of the values are"
        yield f"  {of} {'not ' if task.calls == 1 > task.cached else ''}kept already"
    if task.instead_of:
        yield f"  instead of {task.instead_of}"
    yield from (f"  left out: {text}" for text in task.relaxed)
    yield from (f"  {note}" for note in task.notes)
