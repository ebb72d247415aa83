"""What an event loop needs of a stream: its source drawn from, news of what has landed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from entangle._pool.pool import Pool

    from .channel import Channel


class Pump:
    """Feeds a channel from an asynchronous source, as far as there is room.

    Refers to nobody who takes the outcomes: who lets go of the stream ends it. Belongs
    to one event loop; only `landed` and `stop` may be called from elsewhere.
    """

    def __init__(self, pool: Pool, channel: Channel) -> None:
        self._pool = pool
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._told = False
        self._task: asyncio.Task[None] | None = None
        self.trouble: BaseException | None = None
        channel.on_landed = self.landed

    def start(self, source: AsyncIterator[Any]) -> None:
        """Begin to draw from a source."""
        self._task = self._loop.create_task(self._draw(source))

    @property
    def drawing(self) -> bool:
        """Whether more inputs may come."""
        return self._task is not None and not self._task.done()

    def landed(self) -> None:
        """Something has landed; from any thread."""
        if not self._told:
            self._told = True
            self._post(self._news.set)

    def taken(self) -> None:
        """An outcome was taken: there is room for another input."""
        self._room.set()

    async def wait(self) -> None:
        """Wait for news: something has landed, or the source is exhausted."""
        channel = self._channel
        channel.push()
        if self._pool.inline and not channel.empty:
            channel.wait()
            return
        self._news.clear()
        self._told = False
        if channel.poll() or channel.ended:
            return
        if self._task is not None and self._task.done() and channel.empty:
            return
        with current.outside_limit(self._pool), self._pool.waiting():
            await self._news.wait()

    async def finished(self) -> None:
        """Wait until the source is left alone and the run is over."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        run = self._channel.run
        if self._pool.inline:
            self._pool.finish(run)
        while not run.finished:
            self._news.clear()
            self._told = False
            if not run.finished:
                await self._news.wait()

    def stop(self) -> None:
        """Leave the source alone, soon; from any thread."""
        if self._task is not None:
            self._post(self._task.cancel)

    def _post(self, action: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            pass  # the loop was closed: nobody waits there

    async def _draw(self, source: AsyncIterator[Any]) -> None:
        channel = self._channel
        try:
            while True:
                while not channel.room:
                    self._room.clear()
                    await self._room.wait()
                try:
                    value = await anext(source)
                except StopAsyncIteration:
                    break
                channel.offer(value)
                channel.push()
                if self._pool.inline:
                    self._news.set()
        except Exception as trouble:
            self.trouble = trouble
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
            self._news.set()
