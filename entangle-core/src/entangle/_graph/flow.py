"""A flow: a push graph, from the function that runs first to those it feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from entangle._graph import running
from entangle._graph.frames import position
from entangle._graph.naming import own
from entangle._graph.walk import inputs_first

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping
    from types import CodeType
    from typing import Literal

    from entangle._graph.flow_task import FlowTask
    from entangle._graph.program import Program
    from entangle._run.future import RunFuture
    from entangle._run.plan import Plan
    from entangle._run.streams import Stream

_new: Callable[[type[Flow]], Flow] = object.__new__


class Flow:
    """A push graph; calling a dataflow task builds it, calling the flow runs it.

    The outer function runs first, and its value goes to each child at once, and so on
    down. A flow is immutable, may be run any number of times, also concurrently and
    from any thread, and pickles. Equal only to itself, see `same_structure`.

    Attributes:
        task: What is called.
        first: Arguments before the value: the instance that a method belongs to.
        children: What the value goes to: flows, and functions that choose some.
        constants: The keyword arguments of each call; None if there are none.
        code: The code object of the line that built it, or the line as
            ``file:line`` where the code is in another process.
        lasti: The instruction in that code.
    """

    __slots__ = (
        "__weakref__",
        "_program",
        "children",
        "code",
        "constants",
        "first",
        "lasti",
        "task",
    )

    task: FlowTask[..., Any]
    first: tuple[Any, ...]
    children: tuple[Flow | Callable[[Any], object], ...]
    constants: dict[str, Any] | None
    code: CodeType | str
    lasti: int
    _program: Program | None

    def __init__(self) -> None:
        """Refuse: a flow without a task means nothing."""
        raise TypeError("flows are built by calling dataflow tasks, not by Flow()")

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task.name

    @property
    def where(self) -> str:
        """The line that built this flow, as ``file:line``."""
        if isinstance(self.code, str):
            return self.code
        return f"{self.code.co_filename}:{position(self.code, self.lasti)[0]}"

    @property
    def program(self) -> Program:
        """The flow as a run takes it; worked out once.

        Raises:
            TypeError: If values and constants don't fit the function they go to.
            CompositionError: If a function can't run where the flow's root says.
        """
        program = self._program
        if program is None:
            # Imported here: building needs no program.
            from entangle._graph.program import programmed

            program = programmed(self)
            object.__setattr__(self, "_program", program)
        return program

    def __call__(self, value: Any, /) -> tuple[Any, ...]:
        """Run the flow with an input and wait for what comes out at its leaves.

        Args:
            value: What the outer function is called with.

        Returns:
            The values of the leaves, in the order in which they are written; always a
            tuple.

        Raises:
            FlowError: If functions have failed: an `ExceptionGroup` of their errors,
                when everything that doesn't depend on them is done.
            TypeError: If values and constants don't fit the function they go to.
        """
        result: tuple[Any, ...] = running.flows().run(self, value)
        return result

    def submit(self, value: Any, /) -> RunFuture[tuple[Any, ...]]:
        """Start to run the flow with an input, and do not wait.

        Args:
            value: What the outer function is called with.

        Returns:
            A future for the values of the leaves. It belongs to the caller; cancelling
            it ends what runs.
        """
        future: RunFuture[tuple[Any, ...]] = running.flows().submit(self, value)
        return future

    async def run_async(self, value: Any, /) -> tuple[Any, ...]:
        """Run the flow with an input while the event loop goes on.

        Args:
            value: What the outer function is called with.

        Returns:
            The values of the leaves, as for a plain call.

        Cancellation:
            Cancelling the awaiting task cancels the run and ends what runs.
        """
        result: tuple[Any, ...] = await running.flows().awaitable(self, value)
        return result

    def stream(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        buffer: int | None = None,
        ordered: bool = True,
        errors: Literal["raise", "yield"] = "raise",
    ) -> Stream:
        """Run the flow with each of many inputs, all its functions busy at once.

        Nothing runs until the first result is asked for. ``for`` and ``async for`` take
        the results; who takes them draws the inputs, too, and only as far as there is
        room, so there may be endlessly many. Leaving the loop ends what runs.

        Args:
            inputs: Any iterable; an asynchronous one needs ``async for``.
            buffer: How many inputs may be drawn whose results are not taken yet; None
                for enough to keep small calls flowing.
            ordered: Whether results come in the order of the inputs, else as they are
                there.
            errors: What becomes of an input for which a function fails:
                ``'raise'`` ends the stream with its `FlowError` in its turn,
                ``'yield'`` gives the error in place of the result and goes on.

        Returns:
            An iterator of the tuples that calls of the flow would return.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If one has no sensible value.
        """
        stream: Stream = running.flows().stream(
            self, inputs, buffer=buffer, ordered=ordered, errors=errors
        )
        return stream

    def graph(self) -> dict[str, list[Any]]:
        """Show the flow as plain data; nothing runs.

        Returns:
            One key, the task's name, with the list of its children as such mappings,
            the names of choosing functions and the constants as ``'name=value'``.
        """
        # Imported here: most programs look at no graph.
        from entangle._graph.pictures import graph_of_flow

        return graph_of_flow(self)

    def to_mermaid(self, *, states: Mapping[Flow, str] | None = None) -> str:
        """Draw the flow as the text of a Mermaid flowchart; nothing runs.

        Args:
            states: What has become of its functions, as `to_svg` takes it.

        Raises:
            PictureError: If it has more than 500 edges or 50,000 characters, even
                with the calls of each line drawn as one: renderers refuse that.
        """
        from entangle._graph.drawing.formats import as_mermaid

        return as_mermaid(self, states)

    def to_dot(self, *, states: Mapping[Flow, str] | None = None) -> str:
        """Draw the flow in the language of Graphviz; nothing runs.

        Args:
            states: What has become of its functions, as `to_svg` takes it.
        """
        from entangle._graph.drawing.formats import as_dot

        return as_dot(self, states)

    def to_svg(self, *, states: Mapping[Flow, str] | None = None) -> str:
        """Draw the flow as an SVG document, light or dark as the page; nothing runs.

        Arrows lead from functions to those that they feed. Above 60 of them,
        calls that one line has made in the same way are one card.

        Args:
            states: What has become of its functions: ``'waiting'``, ``'running'``,
                ``'done'``, ``'failed'``, ``'retry'`` or ``'skipped'``; those of a run
                are in `RunFuture.states`. Others have no colour.

        Raises:
            PictureError: If there are too many cards to be seen.
            ValueError: If a state is none of these.
        """
        from entangle._graph.drawing.formats import as_svg

        return as_svg(self, states)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Show the picture in a notebook."""
        from entangle._graph.drawing.formats import as_bundle

        return as_bundle(self)

    def plan(self) -> Plan:
        """Say what would run where, and what is refused; nothing runs.

        Returns:
            An entry for each function of the flow; what functions choose at run time
            is not known before.

        Raises:
            TypeError: If values and constants don't fit the function they go to.
            CompositionError: If a function can't run where the flow's root says.
        """
        return running.plan(self)

    def same_structure(self, other: Flow) -> bool:
        """Tell whether another flow is built of the same functions in the same way.

        Functions count as the same if they have the same name, module and code;
        constants if they are equal; and what is one object in one flow has to be one
        in the other.

        Raises:
            TypeError: If ``other`` is no flow.
        """
        if not isinstance(other, Flow):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"same_structure() takes a flow, not {type(other).__qualname__}"
            )
        from entangle._graph.alike import alike

        return alike(self, other)

    def __repr__(self) -> str:
        """Show the name, what it feeds and the line; a flow may be large."""
        fed = [each.name if isinstance(each, Flow) else "..." for each in self.children]
        inner = ", ".join(fed[:_SHOWN] + ["..."] * (len(fed) > _SHOWN))
        return f"<flow {self.name}({inner}) built at {self.where}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a flow may be running."""
        raise AttributeError(f"a flow is immutable: cannot set {name!r}")

    def __copy__(self) -> Flow:
        """Give the flow itself: it is immutable."""
        return self

    def __deepcopy__(self, memo: object) -> Flow:
        """Give the flow itself: it is immutable."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle flat, each node once, so that depth needs no recursion."""
        order = topological(self)
        numbers = {flow: number for number, flow in enumerate(order)}
        tasks = {flow.task: None for flow in order}
        of_task = {task: number for number, task in enumerate(tasks)}
        lines: dict[tuple[Any, int], str] = {}
        rows: list[_Row] = []
        for flow in order:
            # Finding a line costs a walk of its code, and many flows come from few.
            at = flow.code, flow.lasti
            if at not in lines:
                lines[at] = flow.where
            row = _Row(
                of_task[flow.task],
                flow.first,
                tuple(
                    [
                        numbers[each] if isinstance(each, Flow) else -1
                        for each in flow.children
                    ]
                ),
                tuple([each for each in flow.children if not isinstance(each, Flow)]),
                flow.constants,
                lines[at],
            )
            rows.append(row)
        return _rebuilt, (tuple(tasks), tuple(map(tuple, rows)))


_SHOWN = 4


class _Row(NamedTuple):
    """One flow, as it is pickled.

    Attributes:
        task: The number of its task.
        first: As of a `Flow`.
        children: The numbers of the rows of its children; -1 for choosing functions.
        choosers: These functions.
        constants: As of a `Flow`.
        where: The line that built it.
    """

    task: int
    first: tuple[Any, ...]
    children: tuple[int, ...]
    choosers: tuple[Any, ...]
    constants: dict[str, Any] | None
    where: str


def _rebuilt(tasks: tuple[Any, ...], rows: tuple[tuple[Any, ...], ...]) -> Flow:
    """Make a flow of what it was pickled as."""
    own_tasks = [own(task) for task in tasks]
    flows: list[Flow] = []
    for each in rows:
        row = _Row(*each)
        choosers = iter(row.choosers)
        children = tuple(
            [next(choosers) if number < 0 else flows[number] for number in row.children]
        )
        task: Any = own_tasks[row.task]
        flows.append(build_flow(task, row.first, children, row.constants, row.where, 0))
    return flows[-1]


def topological(flow: Flow) -> list[Flow]:
    """List a flow and all that it feeds, each once, children before parents."""
    return inputs_first(flow, _fed)


def _fed(flow: Flow) -> list[Flow]:
    return [child for child in flow.children if isinstance(child, Flow)]


def build_flow(
    task: FlowTask[..., Any],
    first: tuple[Any, ...],
    children: tuple[Any, ...],
    constants: dict[str, Any] | None,
    code: CodeType | str,
    lasti: int,
) -> Flow:
    """Make a flow of what was checked before; see `Flow` for the arguments."""
    flow = _new(Flow)
    put = object.__setattr__
    put(flow, "task", task)
    put(flow, "first", first)
    put(flow, "children", children)
    put(flow, "constants", constants)
    put(flow, "code", code)
    put(flow, "lasti", lasti)
    put(flow, "_program", None)
    return flow
