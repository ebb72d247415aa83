"""One input on its way through a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._engine_items import FAILED, SKIPPED, SUCCEEDED
from entangle._graph.flow import Flow
from entangle._graph.program import choice_name, is_choice
from entangle.errors import CompositionError, FlowError, TaskError

from .calls import node_of
from .notes import note_path
from .values import ENCODED, Parts

if TYPE_CHECKING:
    from entangle._engine_items import Item
    from entangle._graph.program import Program


class Activation:
    """What a run knows of one input. Inside the monitor, once it is under way.

    Stands as the node of the item whose outcome is that of all leaves.

    Attributes:
        program: What the input goes through.
        input: The input, as it was given.
        index: Which input of a stream it is; None for a call.
        flows: By program, the flows that it was made of; none for inputs of streams.
        items: The items of all stages, those of chosen flows included.
        leaves: The items whose values come out, in the order written.
        programs: What it goes through, chosen programs included; these are held.
    """

    __slots__ = ("flows", "index", "input", "items", "leaves", "program", "programs")

    def __init__(self, program: Program, value: Any, index: int | None = None) -> None:
        self.program = program
        self.input = value
        self.index = index
        self.flows: tuple[list[Flow], ...] = ()
        self.items: list[Item] = []
        self.leaves: list[Item] = []
        self.programs: list[Program] = []

    def failure(self) -> BaseException | None:
        """Return the group of what its functions have raised; None for nothing."""
        failed = [item for item in self.items if item.status == FAILED]
        if not failed:
            return None
        errors: list[BaseException] = []
        for item in failed:
            error = item.error
            if error is not None:
                node: Any = item.node
                if is_choice(node):
                    where = f"in the choice of {choice_name(node)} ({node.where})"
                    BaseException.add_note(error, where)
                else:
                    _note(error, item)
                errors.append(error)
        flow, given, index = self.program.name, self.input, self.index
        plain = [error for error in errors if isinstance(error, Exception)]
        if len(plain) == len(errors):
            return FlowError(plain, flow=flow, input=given, index=index)
        return BaseExceptionGroup(f"functions of the flow {flow} have failed", errors)

    def skipped(self) -> list[Item]:
        """List the items that never started, since a parent failed or none ran."""
        return [item for item in self.items if item.status == SKIPPED]

    def __repr__(self) -> str:
        return f"flow {self.program.name}"


class Chosen:
    """What a choosing function has returned: flows, and their program, if any."""

    __slots__ = ("flows", "program")

    def __init__(self, flows: list[Flow], program: Program | None) -> None:
        self.flows = flows
        self.program = program


class Leaves:
    """The values that a choice contributes."""

    __slots__ = ("values",)

    def __init__(self, values: list[Any]) -> None:
        self.values = values


def values_of(leaves: list[Item]) -> list[Any]:
    """Return the values of leaves in order, those of choices in their places."""
    values: list[Any] = []
    for item in leaves:
        if item.status == SUCCEEDED:
            if type(item.value) is Leaves:
                values.extend(item.value.values)
            else:
                values.append(item.value)
    return values


def outcome(values: list[Any]) -> Any:
    """Return what a flow's call gives: a tuple, or parts of one."""
    made = tuple(values)
    return made if ENCODED.isdisjoint(map(type, made)) else Parts(made)


def chosen_flows(returned: Any, name: str) -> list[Flow]:
    """Return the flows that a choosing function has chosen.

    Raises:
        CompositionError: it has returned something else.
        TaskError: it has returned a coroutine that nobody would run.
    """
    if returned is None:
        return []
    if type(returned) is Flow:
        return [returned]
    if type(returned) in {list, tuple}:
        several: Any = returned
        if all(type(each) is Flow for each in several):
            return list(dict.fromkeys(several))
    if hasattr(returned, "__await__") and hasattr(returned, "close"):
        returned.close()
        raise TaskError("TypeError", f"{name} has returned a coroutine")
    raise CompositionError(
        f"{name} chooses where a value goes: it must return a flow, a list of flows "
        f"or None, not {_shown(returned)}",
        task=name,
    )


def _note(error: BaseException, item: Item) -> None:
    """Say which function has failed; one of several in one has said so itself."""
    if not getattr(node_of(item).task, "fused", False) or not any(
        note.startswith("in node ") for note in getattr(error, "__notes__", ())
    ):
        note_path(error, item)


def _shown(value: Any) -> str:
    kind = type(value).__qualname__
    try:
        return f"{kind} {value!r:.60}"
    except Exception:
        return kind
