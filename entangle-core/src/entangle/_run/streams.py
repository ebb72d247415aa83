"""A flow that many inputs go through: ``flow.stream``.

Who takes the outcomes draws the inputs, on the same thread or event loop: a source is
never iterated over by two threads, an error or Ctrl-C in it strikes its own program,
and nothing of it is left when the loop is. It is drawn from as long as no outcome can
be taken, but never further than `buffer`; while one can be taken, only to keep the
stages busy. An asynchronous source is drawn from by a task of its own meanwhile.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from entangle._graph.callables import kind_of
from entangle._graph.values import brief
from entangle.errors import FlowError

from . import current
from .api import current_pool
from .channel import Channel
from .push import PushRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from entangle._graph.flow import Flow

    from .pump import Pump

_ITERABLE = ("__iter__", "__getitem__")


class Stream:
    """The results of a flow for many inputs; an iterator that can be used once.

    Take the results with ``for`` or ``async for``. Leaving the loop, `close`, or letting
    go of the stream ends what runs. One thread, or one task, at a time.
    """

    def __init__(
        self, flow: Flow, inputs: Any, *, buffer: Any, ordered: Any, errors: Any
    ) -> None:
        """Check the arguments; nothing runs, and nothing is drawn."""
        self._channel: Channel | None = None
        self._done = False
        kind = kind_of(inputs)
        self._async = hasattr(kind, "__aiter__")
        if not self._async and not any(hasattr(kind, name) for name in _ITERABLE):
            raise TypeError(
                f"stream() takes an iterable of inputs, not {kind.__qualname__} "
                f"{brief(inputs)}: call the flow for a single one"
            )
        if type(ordered) is not bool:
            raise TypeError(f"stream(ordered={ordered!r}): must be True or False")
        if errors not in {"raise", "yield"}:
            raise ValueError(
                f"stream(errors={errors!r}): must be 'raise', which ends the stream, or "
                "'yield', which gives errors in place of results"
            )
        self._buffer = _checked_buffer(buffer)
        self._flow = flow
        # What doesn't fit is told here, not when the first result is asked for.
        self._program = flow.program
        self._inputs: Any = inputs
        self._ordered = ordered
        self._yields = errors == "yield"
        self._source: Iterator[Any] | None = None
        self._trouble: BaseException | None = None  # of the source: it comes last
        self._pump: Pump | None = None

    def __repr__(self) -> str:
        """Show the flow, and whether it is over."""
        state = " (over)" if self._done else ""
        return f"<stream through the flow {self._flow.name}{state}>"

    # -- for ---------------------------------------------------------------------

    def __iter__(self) -> Stream:
        """Give the stream itself."""
        self._refuse_async()
        return self

    def __next__(self) -> Any:
        """Return the next result; draw inputs meanwhile.

        Raises:
            FlowError: Functions have failed for the input whose turn it is.
            BaseException: What drawing from the inputs has raised, once all results of
                earlier ones have been returned.
        """
        self._refuse_async()
        if self._done:
            raise StopIteration
        try:
            channel = self._channel or self._opened()
            outcome = self._next(channel)
            if outcome is not None:
                return self._given(outcome)
        except BaseException:
            self.close()
            raise
        self.close()
        self._raise_trouble()
        raise StopIteration

    def _refuse_async(self) -> None:
        if self._async:
            raise TypeError(
                "the inputs of this stream are asynchronous: use async for, in a "
                "coroutine"
            )

    def _next(self, channel: Channel) -> Any:
        """Wait for the outcome whose turn it is; None at the end."""
        while not self._ready(channel):
            if channel.empty:
                return None
            channel.wait()
        return channel.take()

    def _ready(self, channel: Channel) -> bool:
        """Draw inputs while there is room; tell whether an outcome can be taken.

        Raises:
            CancelledError: the run was ended.
        """
        while True:
            ready = channel.poll()
            if channel.ended:
                raise self._ended(channel)
            if self._source is None or not channel.room:
                return ready
            if not ready or not channel.flowing:
                self._draw(channel)
            if ready:
                return True

    def _draw(self, channel: Channel) -> None:
        """Take one input from the source, if it has any left."""
        source: Any = self._source
        try:
            value = next(source)
        except StopIteration:
            self._source = None
            channel.push()
        except Exception as trouble:
            self._source, self._trouble = None, trouble
            channel.push()
        else:
            channel.offer(value)

    def _opened(self) -> Channel:
        pool = current_pool()
        run = PushRun(pool, self._program)
        channel = Channel(pool, run, self._buffer, ordered=self._ordered)
        try:
            run.prepare_program(self._program)
            run.observe((), self._program.name)
            if not self._async:
                self._source = iter(self._inputs)
            channel.open()
        except BaseException:
            run.hub.post(run.places.close)
            raise
        self._inputs = None
        self._channel = channel
        return channel

    def _given(self, outcome: Any) -> Any:
        """Return what the loop gets of an outcome."""
        if outcome.error is None:
            try:
                return outcome.result()
            except Exception as error:
                # It can't be put together again in this process.
                outcome.error = FlowError(
                    [error],
                    flow=self._flow.name,
                    input=outcome.input,
                    index=outcome.index,
                )
        if self._yields:
            return outcome.error
        raise outcome.error

    def _raise_trouble(self) -> None:
        """Tell of the source's trouble, when all results have been taken."""
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def _ended(self, channel: Channel) -> BaseException:
        """Say why the run is over although more was to come."""
        return channel.run.failure or current.cancelled_run(self._flow.name)

    # -- async for ---------------------------------------------------------------

    def __aiter__(self) -> Stream:
        """Give the stream itself."""
        return self

    async def __anext__(self) -> Any:
        """Return the next result, as `__next__`; the event loop goes on meanwhile."""
        if self._done:
            raise StopAsyncIteration
        try:
            outcome = await self._next_async()
            if outcome is not None:
                return self._given(outcome)
        except BaseException:
            await self.aclose()
            raise
        await self.aclose()
        self._raise_trouble()
        raise StopAsyncIteration

    async def _next_async(self) -> Any:
        pump, channel = self._pump, self._channel
        if pump is None or channel is None:
            # Imported here: who uses no coroutines does without asyncio.
            from .pump import Pump

            inputs = self._inputs
            channel = self._opened()
            pump = self._pump = Pump(channel.pool, channel)
            if self._async:
                pump.start(aiter(inputs))
        while not self._ready(channel):
            if channel.empty and not pump.drawing:
                self._trouble = self._trouble or pump.trouble
                return None
            await pump.wait()
        outcome = channel.take()
        pump.taken()
        return outcome

    async def aclose(self) -> None:
        """End what runs, and wait for that. Idempotent."""
        pump = self._pump
        self._close(wait=pump is None)
        if pump is not None:
            await pump.finished()

    # -- ends --------------------------------------------------------------------

    def close(self) -> None:
        """End what runs and wait for its end; close the inputs, if they are a generator.

        Idempotent, from any thread.
        """
        self._close(wait=True)

    def _close(self, *, wait: bool) -> None:
        self._done = True
        source, self._source = self._source, None
        if self._pump is not None:
            self._pump.stop()
        if self._channel is not None:
            self._channel.close(wait=wait)
        if source is not None and hasattr(source, "send"):
            source.close()  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    def __enter__(self) -> Self:
        """Give the stream; it is closed when the block is left."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """End what runs: nobody takes its results any more."""
        if self.__dict__.get("_channel") is not None and not self._done:
            self._close(wait=self._pump is None)


def _checked_buffer(buffer: Any) -> int:
    """Return how many inputs may be under way or wait to be taken.

    Raises:
        TypeError, ValueError: it is no number, or too small.
    """
    if buffer is None:
        return max(128, 8 * (os.cpu_count() or 1))
    if isinstance(buffer, bool) or not hasattr(kind_of(buffer), "__index__"):
        raise TypeError(f"stream(buffer={buffer!r}): must be a whole number of inputs")
    if buffer < 1:
        raise ValueError(f"stream(buffer={buffer!r}): at least 1 input must have room")
    return int(buffer)
