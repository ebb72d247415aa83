"""What flows ask of the run layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .activation import Activation
from .api import awaited_future, current_pool, submitted, waited
from .push import PushRun
from .streams import Stream

if TYPE_CHECKING:
    from collections.abc import Generator

    from entangle._engine_items import Item
    from entangle._graph.flow import Flow

    from .future import RunFuture

__all__ = ["awaitable", "built", "run", "stream", "submit"]


def run(flow: Flow, value: Any) -> tuple[Any, ...]:
    """Run a flow with an input; see `Flow.__call__`."""
    pool = current_pool()
    result: tuple[Any, ...] = waited(pool, *built(pool, flow, value))
    return result


def submit(flow: Flow, value: Any) -> RunFuture[Any]:
    """Start a flow with an input; see `Flow.submit`."""
    pool = current_pool()
    return submitted(pool, *built(pool, flow, value))


class awaitable:  # noqa: N801 - stands for a coroutine function
    """Awaits a flow with an input; see `Flow.run_async`."""

    def __init__(self, flow: Flow, value: Any) -> None:
        self._flow = flow
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        """Run it; cancelling whoever awaits cancels the run."""
        pool = current_pool()
        future = submitted(pool, *built(pool, self._flow, self._value))
        return awaited_future(pool, future)


def stream(
    flow: Flow, inputs: Any, *, buffer: Any, ordered: Any, errors: Any
) -> Stream:
    """Run a flow with many inputs; see `Flow.stream`."""
    return Stream(flow, inputs, buffer=buffer, ordered=ordered, errors=errors)


def built(pool: Any, flow: Flow, value: Any) -> tuple[PushRun, Item]:
    """Build a run up to the point where nothing has begun yet."""
    program = flow.program
    made = PushRun(pool, program)
    try:
        made.prepare_program(program)
        made.observe((stage.node for stage in program.stages), program.name)
        given = made.encoded_input(value)
        activation = Activation(made.fitting(program), value)
        activation.flows = ([flow],)
        return made, made.activate(activation, given, tolerant=False)
    except BaseException:
        # It never begins, and gives back what it has taken so far.
        made.hub.post(made.places.close)
        raise
