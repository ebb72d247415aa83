"""One attempt to run one function somewhere, with whom to tell about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entangle._graph.options import Options
from entangle._worker import codec, failures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def awaited(awaitable: Awaitable[Any]) -> Any:
    """Return what an awaitable gives, on an event loop of its own."""
    import asyncio

    async def result() -> Any:
        return await awaitable

    return asyncio.run(result())


def printed(stream: Any, text: Any) -> tuple[str, str]:
    """Return a report of output as it must be, whatever an executor has reported."""
    if isinstance(text, (bytes, bytearray)):
        text = text.decode(errors="replace")
    if type(text) is not str:
        text = "" if text is None else f"({type(text).__name__})\n"
    return "stderr" if stream == "stderr" else "stdout", text


class Call:
    """One attempt to run one function somewhere, and whom to tell about it.

    The executor that is given a call reads the attributes and reports: `started` at
    most once, `output` any number of times, then exactly one of `succeeded`, `failed`
    and `cancelled`. All reports may come from any thread; none blocks or raises, and
    what is reported after the end is ignored.

    Attributes:
        function: What to call.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        name: The name of the task, for messages.
        options: How the task wants to be run.
        wants_start: Whether `started` is needed.
        alone: Whether it must not be given to a worker that is still busy, since the
            time until it starts counts.
        captures: Whether output has to be reported even by an executor of this
            machine that could print it by itself.
        pid: Where somebody observes the call: the process that it runs in, which an
            executor may set before it reports; 0 if that is not known.
        took: Likewise how many nanoseconds its body took.
    """

    __slots__ = (
        "alone",
        "args",
        "captures",
        "function",
        "kwargs",
        "name",
        "options",
        "pid",
        "took",
        "wants_start",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        name: str = "",
        options: Options | None = None,
        wants_start: bool = False,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.name = name or getattr(function, "__qualname__", repr(function))
        self.options = options if options is not None else Options()
        self.wants_start = self.alone = wants_start
        self.captures = False
        self.pid = self.took = 0

    def invoke(self) -> Any:
        """Call the function here; one that is a coroutine is run to its end."""
        value = self.function(*self.args, **(self.kwargs or {}))
        return awaited(value) if self.options.is_async else value

    def rank(self) -> tuple[int, int]:
        """Return by what it gets its turn.

        Returns:
            The number of the run that it is for, in the end, 0 for none; and how many
            calls wait for it, by runs of their own.
        """
        return 0, 0

    def run_of(self) -> object:
        """Return what identifies the run that it belongs to; None if there is none."""
        return None

    def run_id(self) -> str:
        """Return the identifier of the run that it belongs to; empty if there is none.

        It is the one that events have, and good for names and labels.
        """
        return ""

    def seen(self) -> Any:
        """Return what it is known by to those who observe its run, else None."""
        return None

    def afford(self, name: str) -> Exception | None:
        """Count in a call that it makes in turn; or say why that must not start."""
        del name
        return None

    def started(self, at: float | None = None) -> None:
        """The body is entered.

        Args:
            at: When, as of `time.monotonic` of this machine; None for now.
        """

    def billed(self) -> None:
        """What runs it was made, and costs from here on.

        For places that need a while from there to the body; else it costs from
        `started` on.
        """

    def output(self, stream: str, text: str) -> None:
        """The call printed whole lines to ``'stdout'`` or ``'stderr'``."""

    def succeeded(self, value: Any) -> None:
        """The function returned."""

    def all_succeeded(self, ended: list[tuple[Call, Any]]) -> None:
        """Functions of several calls returned, this one's and maybe others'."""
        for call, value in ended:
            try:
                call.succeeded(value)
            except Exception as error:
                call.failed(error)

    def failed(self, error: BaseException) -> None:
        """The function raised, or the place could not run it."""

    def cancelled(self, how: str) -> None:
        """The call was ended on request.

        Args:
            how: ``'killed'``, ``'abandoned'`` (it runs on, its result is discarded),
                ``'already done'`` (it was not running), ``'cannot kill'`` (the place
                refused).
        """

    def failed_encoded(self, data: bytes) -> None:
        """The function raised; the error is still encoded, as it came from a worker."""
        self.failed(failures.decode_failure(data))

    def returned_graph(self, blob: Any) -> None:
        """The function returned nodes, still encoded, as they came from a worker."""
        from entangle._graph.pack import unpack

        self.succeeded(unpack(codec.decode(blob)))
