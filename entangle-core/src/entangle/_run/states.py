"""What has become of the nodes of a run, as pictures of it show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle._engine_items import (
    ASSEMBLING,
    EXPANDING,
    FAILED,
    ISSUED,
    READY,
    RUNNING,
    SLEEPING,
    SUCCEEDED,
    WAITING,
)
from entangle._graph.program import functions_of
from entangle._graph.walk import edges, inputs_first

from .activation import Activation
from .calls import node_of
from .discover import is_node

if TYPE_CHECKING:
    from entangle._engine_items import Item
    from entangle._graph.drawing.states import State

    from .run import Run

_STATES: Final[dict[int, State]] = {
    WAITING: "waiting",
    READY: "waiting",
    ISSUED: "waiting",
    RUNNING: "running",
    EXPANDING: "running",
    ASSEMBLING: "running",
    SLEEPING: "retry",
    SUCCEEDED: "done",
    FAILED: "failed",
}


def state_of(run: Run, item: Item) -> State:
    """Return what has become of an item, as far as the run knows. Thread-safe."""
    status = item.status
    if status == ISSUED and run.handed_out(item):
        return "running"
    if status == FAILED and _for_want(item):
        return "skipped"
    # What was ended, or not needed any more, has no value either.
    return _STATES.get(status, "skipped")


def _for_want(item: Item) -> bool:
    """Tell whether an item has failed only since an input has."""
    return any(
        producer.status == FAILED and producer.value is item.value
        for producer in item.inputs
    )


def states_of(run: Run, root: Item) -> dict[Any, State]:
    """Return what has become of the nodes, or of the flows, that users have built."""
    top: Any = root.node
    if type(top) is not Activation:
        return {**picture_of(run, root)[1]}
    states: dict[Any, State] = {}
    items = iter(top.items)
    # Functions may choose meanwhile: what they choose is added to all three.
    for flows, program in zip(top.flows, tuple(top.programs), strict=False):
        functions = functions_of(flows)
        for part, item in zip(program.parts, items, strict=False):
            for number in part:
                flow = functions[number]
                if flow is not None:
                    states[flow] = state_of(run, item)
    return states


def picture_of(run: Run, root: Item) -> tuple[Any, dict[Any, State]]:
    """Return what there is to draw of a root's graph, with its nodes' states."""
    top: Any = root.node
    if type(top) is Activation:
        stages = zip(top.program.stages, top.items, strict=False)
        return top.program, {stage.node: state_of(run, item) for stage, item in stages}
    top = node_of(root)
    states: dict[Any, State] = {top: state_of(run, root)}
    for edge in inputs_first(top, lambda each: edges(each) if is_node(each) else ()):
        item = run.items.get(edge)
        if item is not None:
            states[edge] = state_of(run, item)
        elif root.status == SUCCEEDED:
            states.setdefault(edge, "done")  # and forgotten since
    return top, states
