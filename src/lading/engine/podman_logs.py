"""Following what a container of Podman writes, to an end that Podman 4 does not always tell.

Seen with 4.3, of containers that end as the following begins, one in some hundred where several
run: the reply goes on and brings nothing, or breaks off with an error in the place of a frame. So
the end of the container is watched as well, and what is missing then is read once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from lading.engine.shield import to_the_end
from lading.errors import EngineError

if TYPE_CHECKING:
    from lading.engine.base import Container
    from lading.engine.spec import LogChunk

__all__ = ["follow_to_the_end"]

_QUIET = 2.0
"""Seconds without anything new, after which the log of a container that has ended is whole."""


async def follow_to_the_end(
    container: Container, chunks: AsyncGenerator[LogChunk, None], *, whole: bool
) -> AsyncGenerator[LogChunk, None]:
    """Follow a log.

    Parameters
    ----------
    container : Container
    chunks : async generator of LogChunk
        What Podman sends to who follows; is closed at the end.
    whole : bool
        Whether that is from the first line on: what is missing in the end can be found then.
    """
    had: Counter[str] = Counter()
    following = _Following(chunks, container)
    try:
        while (chunk := await following.next()) is not None:
            had[chunk.stream] += len(chunk.data)
            yield chunk
        if following.cut and whole:
            async for chunk in _beyond(had, container.logs()):
                yield chunk
    finally:
        await to_the_end(following.close())


async def _beyond(
    had: Counter[str], chunks: AsyncIterator[LogChunk]
) -> AsyncGenerator[LogChunk, None]:
    """Yield what is there behind the bytes that were had of each stream."""
    async for chunk in chunks:
        known = min(had[chunk.stream], len(chunk.data))
        had[chunk.stream] -= known
        if known < len(chunk.data):
            yield type(chunk)(chunk.stream, chunk.data[known:])


class _Following:
    """Chunks, and an eye on the container's end.

    Attributes
    ----------
    cut : bool
        Whether it was not Podman that said that there is no more.
    """

    def __init__(self, chunks: AsyncGenerator[LogChunk, None], container: Container) -> None:
        self.cut = False
        self._chunks = chunks
        self._ended = asyncio.create_task(_end(container))
        self._step: asyncio.Task[LogChunk | None] | None = None

    async def next(self) -> LogChunk | None:
        """Wait for the next chunk; None: there is no more."""
        step = self._step = asyncio.create_task(self._next())
        await asyncio.wait({step, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        if not step.done():  # the container has ended
            await asyncio.wait({step}, timeout=_QUIET)
        if not step.done():
            self.cut = True
            return None
        self._step = None
        return step.result()

    async def _next(self) -> LogChunk | None:
        try:
            return await anext(self._chunks, None)
        except ValueError:  # an error in the place of a frame
            self.cut = True
            return None

    async def close(self) -> None:
        """Let go of both."""
        tasks = [task for task in (self._step, self._ended) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # retrieved
        await self._chunks.aclose()


async def _end(container: Container) -> None:
    with contextlib.suppress(EngineError):  # removed, or out of reach: the reply says so, too
        await container.wait()
