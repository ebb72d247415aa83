"""A node: one call of a task, not yet run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from entangle._graph import running
from entangle._graph.frames import getframe, position
from entangle._graph.walk import EDGE_TYPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
    from os import PathLike
    from types import CodeType

    from entangle._graph.task import Task
    from entangle._run.future import RunFuture
    from entangle._run.plan import Plan

R_co = TypeVar("R_co", covariant=True)

if TYPE_CHECKING:
    # For checkers a node is whatever a parameter wants, since its value will be:
    # they check the plain arguments of a call, the run delivers the others.
    class _Typed(Awaitable[R_co], Any):  # type: ignore[misc]
        pass
else:
    _Typed = Generic

_new: Callable[[type[Node[Any]]], Node[Any]] = object.__new__


class Node(_Typed[R_co]):
    """One call of a task, with its arguments; calling a task builds it.

    Nodes among the arguments are its edges. A node is immutable, equal only to
    itself, and may be run any number of times and from any thread. It stands for a
    value that does not exist yet, so it has no truth value, length, iteration, order
    or arithmetic, and does not pickle.

    Attributes:
        task: What is called.
        args: The positional arguments.
        kwargs: The keyword arguments; None if there are none.
        follows: What must have ended well before it starts, without being an
            argument; None if there is nothing.
        code: The code object of the line that built it, or the line as
            ``file:line`` where the code is in another process.
        lasti: The instruction in that code.
    """

    __slots__ = ("args", "code", "follows", "kwargs", "lasti", "task")

    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] | None
    follows: tuple[Any, ...] | None
    code: CodeType | str
    lasti: int

    def __init__(self) -> None:
        """Refuse: a node without a task means nothing."""
        raise TypeError("nodes are built by calling tasks, not by Node()")

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task.name

    @property
    def where(self) -> str:
        """The line that built this node, as ``file:line``."""
        if isinstance(self.code, str):
            return self.code
        line, _ = position(self.code, self.lasti)
        return f"{self.code.co_filename}:{line}"

    @property
    def column(self) -> int | None:
        """The column of the call in its line, counted from 0; None if unknown."""
        if isinstance(self.code, str):
            return None
        return position(self.code, self.lasti)[1]

    @overload
    def __call__(self) -> R_co: ...
    @overload
    def __call__(self, argument: Any, /, *args: Any, **kwargs: Any) -> Node[Any]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph, or build a call of this node's value.

        Without arguments, the graph that ends in this node is run and the call
        blocks until it is over. With arguments nothing runs: the result is a node
        for the value called with them or, where the value is not callable, for its
        item.

        Returns:
            The value, or the node.

        Raises:
            BaseException: What a task raised, as itself.
            EntangleError: What Entangle has to say about the run.
        """
        if not args and not kwargs:
            return running.run(self)
        # Imported here: ops is made of nodes.
        from entangle._graph.ops import call_or_item

        frame = getframe(1)
        return build(
            call_or_item, (self, *args), kwargs or None, frame.f_code, frame.f_lasti
        )

    def run(
        self,
        *,
        workers: int | None = None,
        timeout: float | None = None,
        progress: bool | str | None = None,
        trace: str | PathLike[str] | None = None,
        log: bool | str | PathLike[str] | None = None,
        observers: Iterable[Callable[[Any], object]] = (),
    ) -> R_co:
        """Run the graph that ends in this node and wait for the value.

        Args:
            workers: How many calls may run at once; None for as many as fit.
            timeout: How many seconds the run may take; None for no limit.
            progress: Whether, or in which mode, to show on stderr how far it is, as
                `entangle.run.progress` does; None for what the environment says.
            trace: A file to write a trace to, as `entangle.run.trace` does.
            log: True to keep a log of the run under ``.entangle/runs``, or the folder to
                keep it in, as `entangle.run.log` does.
            observers: Functions that are called with its events, as those of
                `entangle.run.observe` are.

        Returns:
            The value.

        Raises:
            BaseException: What a task raised, as itself.
            ProcessTimeoutException: If the run took too long.
            OSError: If the trace can't be written.
            EntangleError: What else Entangle has to say about the run.
        """
        seen: dict[str, Any] = {}
        if progress is not None:
            seen["progress"] = progress
        if trace is not None:
            seen["trace"] = trace
        if log is not None:
            seen["log"] = log
        if observers:
            seen["observers"] = observers
        value: R_co = running.run(self, workers=workers, timeout=timeout, **seen)
        return value

    def submit(
        self, *, workers: int | None = None, timeout: float | None = None
    ) -> RunFuture[R_co]:
        """Start to run the graph that ends in this node, and do not wait.

        Args:
            workers: How many calls may run at once; None for as many as fit.
            timeout: How many seconds the run may take; None for no limit.

        Returns:
            A future for the value. It belongs to the caller; cancelling it ends what
            runs.
        """
        return running.submit(self, workers=workers, timeout=timeout)

    def graph(self) -> dict[str, list[Any]]:
        """Show the graph as plain data; nothing runs.

        Returns:
            One key, the task's name, with the list of its arguments in the order of the
            call: nodes as such mappings, values as their repr.
        """
        # Imported here: most programs look at no graph.
        from entangle._graph.pictures import graph_of_node

        return graph_of_node(self)

    def to_mermaid(self, *, states: Mapping[Any, str] | None = None) -> str:
        """Draw the graph as the text of a Mermaid flowchart; nothing runs.

        Args:
            states: What has become of its nodes, as `to_svg` takes it.

        Raises:
            PictureError: If it has more than 500 edges or 50,000 characters, even
                with the calls of each line drawn as one: renderers refuse that.
        """
        from entangle._graph.drawing.formats import as_mermaid

        return as_mermaid(self, states)

    def to_dot(self, *, states: Mapping[Any, str] | None = None) -> str:
        """Draw the graph in the language of Graphviz; nothing runs.

        Args:
            states: What has become of its nodes, as `to_svg` takes it.
        """
        from entangle._graph.drawing.formats import as_dot

        return as_dot(self, states)

    def to_svg(self, *, states: Mapping[Any, str] | None = None) -> str:
        """Draw the graph as an SVG document, light or dark as the page; nothing runs.

        Arrows lead from arguments to the calls that take them. Above 60 of them,
        calls that one line has made in the same way are one card.

        Args:
            states: What has become of its nodes: ``'waiting'``, ``'running'``,
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
            An entry for each task of the graph; printed, a paragraph for each.
        """
        return running.plan(self)

    def __await__(self) -> Generator[Any, None, R_co]:
        """Run the graph while the event loop goes on.

        Cancellation:
            Cancelling the awaiting task cancels the run and ends what runs.
        """
        return running.awaited(self)

    def after(self, *others: Node[Any] | RunFuture[Any]) -> Node[R_co]:
        """Build the same call once more, to run only after others.

        Args:
            *others: What must have ended well before; the values are not used.

        Returns:
            A new node; this one stays as it is.
        """
        if not others:
            raise TypeError("after() needs at least one node")
        for other in others:
            if type(other) not in EDGE_TYPES:
                raise TypeError(
                    f"after() takes nodes, not {type(other).__qualname__} {other!r}"
                )
        frame = getframe(1)
        if self.task.options.tolerant:
            # It takes failures as values; those of the others are none of its.
            from entangle._graph.ops import same

            after: Node[R_co] = build(
                same, (self,), None, frame.f_code, frame.f_lasti, others
            )
            return after
        return build(
            self.task,
            self.args,
            self.kwargs,
            frame.f_code,
            frame.f_lasti,
            (*(self.follows or ()), *others),
        )

    def __getitem__(self, key: Any) -> Node[Any]:
        """Build a node for an item of the value."""
        from entangle._graph.ops import getitem

        frame = getframe(1)
        return build(getitem, (self, key), None, frame.f_code, frame.f_lasti)

    def unpack(self, count: int, /) -> tuple[Node[Any], ...]:
        """Build nodes for the items of the value, of which there must be `count`.

        The value must have exactly that many items when it is there, else the run
        fails with a ValueError.

        Args:
            count: How many items there are.

        Returns:
            One node for each item, in order.
        """
        from entangle._graph.ops import getitem, unpacked

        if type(count) is not int:
            raise TypeError(f"unpack() takes a number of items, not {count!r}")
        if count < 1:
            raise ValueError(f"unpack() needs at least 1 item, not {count}")
        frame = getframe(1)
        code, lasti = frame.f_code, frame.f_lasti
        items = build(unpacked, (self, count), None, code, lasti)
        return tuple(
            build(getitem, (items, index), None, code, lasti) for index in range(count)
        )

    def __repr__(self) -> str:
        """Show the task's name and the line; the arguments may be a large graph."""
        return f"<node {self.name}() built at {self.where}>"

    def __copy__(self) -> Node[R_co]:
        """Give the node itself: it is immutable."""
        return self

    def __deepcopy__(self, memo: object) -> Node[R_co]:
        """Give the node itself: it is immutable."""
        return self

    if not TYPE_CHECKING:
        # Checkers take every attribute of a node for one of its value.
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("__"):
                raise AttributeError(
                    f"'Node' object has no attribute {name!r}", name=name, obj=self
                )
            raise AttributeError(
                f"a node has no attribute {name!r}: {_not_run(self)}",
                name=name,
                obj=self,
            )


EDGE_TYPES.add(Node)


def build(
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    code: CodeType | str,
    lasti: int,
    follows: tuple[Any, ...] | None = None,
) -> Node[Any]:
    """Make a node of what was checked before.

    Args:
        task: What is called.
        args: The positional arguments.
        kwargs: The keyword arguments; None, not empty, if there are none.
        code: The code object of the line that builds the node, or that line.
        lasti: The instruction in it.
        follows: What must have ended before; None, not empty, if nothing must.
    """
    node = _new(Node)
    node.task = task
    node.args = args
    node.kwargs = kwargs
    node.follows = follows
    node.code = code
    node.lasti = lasti
    return node


def _not_run(node: Node[Any]) -> str:
    return (
        f"{node.name}(), built at {node.where}, has not run: call it, or pass it to "
        "a task"
    )


def _refusal(what: str, hint: str = "") -> Callable[..., NoReturn]:
    """Make a method that refuses to treat a node as its value."""

    def refuse(self: Node[Any], *_: object) -> NoReturn:
        raise TypeError(f"a node {what}: {_not_run(self)}{hint}")

    return refuse


_UNPACK = " (a, b = node.unpack(2) names its items beforehand)"
_REFUSED = {
    "has no truth value": ("bool",),
    "has no length": ("len",),
    "has no order": ("lt", "le", "gt", "ge"),
    "cannot be searched": ("contains",),
    "cannot be changed": ("setitem", "delitem"),
    "cannot be pickled": ("reduce_ex",),
    "is no number": (
        *("int", "float", "complex", "index", "round", "trunc", "floor", "ceil"),
        *("neg", "pos", "abs", "invert"),
    ),
    "does not calculate": tuple(
        side + operation
        for operation in (
            *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod"),
            *("pow", "lshift", "rshift", "and", "xor", "or"),
        )
        for side in ("", "r", "i")
        if side + operation != "idivmod"
    ),
}

for _what, _methods in _REFUSED.items():
    for _method in _methods:
        setattr(Node, f"__{_method}__", _refusal(_what))
for _method in ("iter", "reversed"):
    setattr(Node, f"__{_method}__", _refusal("cannot be iterated over", _UNPACK))
# Without it numpy takes a node for an array of one object and calculates with that.
Node.__array_ufunc__ = None
