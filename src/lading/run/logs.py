"""What a container prints: followed in the background, the end of it kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from lading.engine.base import Container
from lading.engine.spec import LogChunk
from lading.errors import LadingError

__all__ = ["LogTail"]

_KEEP = 64 * 1024
_PIECES = 1000
"""Chunks to keep at the most: each takes a hundred bytes besides what is in it."""
_TAIL_LINES = 20
_TAIL_CHARACTERS = 8 * 1024
"""Of what is quoted in an error: a "line" may be endless."""


class LogTail:
    """Follows a container's log until it ends, and keeps the last of it.

    Parameters
    ----------
    container : Container
        Started, or about to be.
    mark : bytes or None
        What to look for, on either stream.
    keep : int
        Bytes to keep; fewer of a log that comes in pieces of a few bytes.

    Attributes
    ----------
    marked : asyncio.Event
        Set once the mark was seen.
    ended : asyncio.Event
        Set once nothing more will come.
    """

    def __init__(
        self, container: Container, *, mark: bytes | None = None, keep: int = _KEEP
    ) -> None:
        self.marked = asyncio.Event()
        self.ended = asyncio.Event()
        self._container = container
        self._mark = mark
        self._carry: dict[str, bytes] = {}
        self._keep = keep
        self._kept: deque[LogChunk] = deque()
        self._size = 0
        self._listeners: list[Callable[[LogChunk], None]] = []
        self._task: asyncio.Task[None] | None = None

    async def attach(self) -> None:
        """Begin to listen before the container starts, for a log that is exact to the byte.

        Not for a container that serves: one whose output is not taken in time is halted by it.
        """
        listens = asyncio.Event()
        self._begin(self._listen(listens))
        await listens.wait()

    def start(self) -> None:
        """Begin to follow, unless it is being listened to."""
        if self._task is None or (self._task.done() and not self.ended.is_set()):
            self._begin(self._follow())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work, name=f"logs of {self._container.name}")

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines, those of both streams in the order in which they came.

        What isn't UTF-8 is replaced; of endless lines, the last 8 Ki characters.
        """
        text = b"".join(chunk.data for chunk in self._kept).decode("utf-8", "replace")
        return "\n".join(text.rstrip().split("\n")[-lines:])[-_TAIL_CHARACTERS:]

    def chunks(self) -> list[LogChunk]:
        """Return what is kept, oldest first."""
        return list(self._kept)

    def subscribe(
        self, listener: Callable[[LogChunk], None], *, replay: bool = True
    ) -> Callable[[], None]:
        """Call somebody for each chunk as it comes, on the event loop; none is left out.

        Parameters
        ----------
        listener : callable
            Must not block, nor raise.
        replay : bool
            Whether it is first called for what is kept.

        Returns
        -------
        callable
            Ends it; may be called more than once.
        """
        if replay:
            for chunk in list(self._kept):
                listener(chunk)
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    async def finished(self, timeout: float) -> None:
        """Wait until the log has ended, at most so many seconds: its last lines come late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.ended.wait()

    async def settled(self, pause: float, timeout: float) -> None:
        """Wait until nothing came for `pause` seconds, at most `timeout` of them.

        What a container prints and what it sends go different ways: the first may come later.
        """
        heard = asyncio.Event()
        end = self.subscribe(lambda _: heard.set(), replay=False)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    while not self.ended.is_set():
                        heard.clear()
                        async with asyncio.timeout(pause):
                            await heard.wait()
        finally:
            end()

    async def close(self) -> None:
        """Stop following; what was kept stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _listen(self, listens: asyncio.Event) -> None:
        try:
            async with self._container.attached() as chunks:
                listens.set()
                try:
                    async for chunk in chunks:
                        self._add(chunk)
                finally:
                    self.ended.set()
        except (LadingError, OSError):
            pass  # as in _follow; where it never began, following does
        finally:
            listens.set()

    async def _follow(self) -> None:
        # What breaks here breaks elsewhere too, where somebody waits for the container to end;
        # a log that stops is no reason of its own to fail.
        try:
            async for chunk in self._container.logs(follow=True):
                self._add(chunk)
        except (LadingError, OSError):
            pass
        finally:
            self.ended.set()

    def _add(self, chunk: LogChunk) -> None:
        if not chunk.data:
            return
        if self._mark and not self.marked.is_set():
            self._look(chunk, self._mark)
        for listener in tuple(self._listeners):
            listener(chunk)
        self._kept.append(chunk)
        self._size += len(chunk.data)
        while (excess := self._size - self._keep) > 0:
            first = self._kept.popleft()
            self._size -= len(first.data)
            if len(first.data) > excess:
                self._kept.appendleft(LogChunk(first.stream, first.data[excess:]))
                self._size += len(first.data) - excess
        if len(self._kept) > _PIECES:
            self._size -= len(self._kept.popleft().data)

    def _look(self, chunk: LogChunk, mark: bytes) -> None:
        """Look for the mark, which may have begun at the end of earlier chunks of this stream."""
        data = self._carry.get(chunk.stream, b"") + chunk.data
        if mark in data:
            self.marked.set()
            self._carry.clear()
        else:
            self._carry[chunk.stream] = data[-(len(mark) - 1) :] if len(mark) > 1 else b""
