"""A caller's hold on a container of the fake engine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from lading.engine.spec import ContainerInfo, Exit, LogChunk, Stats
from lading.errors import ContainerNotFound

if TYPE_CHECKING:
    from lading.engine.base import OnWait
    from lading.testing.fake_container import ContainerState
    from lading.testing.fake_engine import FakeEngine

__all__ = ["FakeContainer"]


class FakeContainer:
    """One container, through one client of the fake engine.

    It does what :class:`lading.engine.base.Container` says.
    """

    def __init__(self, engine: FakeEngine, state: ContainerState) -> None:
        self._engine = engine
        self._state = state

    @property
    def news_delay(self) -> float:
        """As long as with Docker."""
        return 1.0

    @property
    def stats_interval(self) -> float:
        """Looks cost next to nothing."""
        return 0.0

    @property
    def id(self) -> str:
        """The engine's id of it."""
        return self._state.id

    @property
    def name(self) -> str:
        """Its name on the engine."""
        return self._state.name

    async def start(self, on_wait: OnWait | None = None) -> None:  # noqa: ARG002
        """Start it, or start it again; one that runs is left alone. It waits for nothing."""
        await self._enter("start", self._engine.start_seconds)
        if self._state.process is None:
            self._engine.launch(self._state)
            # One turn begins its supervisor, another its program: what that does before it first
            # waits, such as to ignore a signal, is done when this returns.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def inspect(self) -> ContainerInfo:
        """Look at it now."""
        await self._enter("inspect")
        return self._state.info()

    async def wait(self) -> Exit:
        """Wait until it has ended."""
        await self._enter("wait")
        while self._state.exit is None:
            await self._state.bell.wait()
            self._check()
        return self._state.exit

    async def logs(
        self, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[LogChunk]:
        """What it wrote so far, and with `follow` what it writes until it ends."""
        await self._enter("logs")
        async for chunk in self._state.logs(follow=follow, tail=tail, check=self._engine.check):
            yield chunk

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[AsyncIterator[LogChunk]]:
        """Listen to it from before its start."""
        await self._enter("attached")
        yield self._state.heard(check=self._engine.check)

    async def stats(self) -> Stats:
        """What it uses; zeros once it has ended."""
        await self._enter("stats")
        process = self._state.process
        if process is None:
            return Stats(memory=0, memory_peak=None, cpu_seconds=0.0)
        return Stats(process.memory, process.memory_peak, process.cpu_seconds)

    async def connect(self, port: int) -> socket.socket:
        """Open a connection to a port that its program listens on: a socket pair."""
        await self._engine.enter("connect")
        process = self._state.process
        if process is None or self._state.removed:
            raise ConnectionRefusedError(f"container {self.name} does not run")
        return await process.accept(port)

    async def put(self, path: str, archive: bytes) -> None:
        """Unpack a tar archive into an existing directory of it."""
        await self._enter("put")
        await self._state.files.unpack(path, archive)

    async def get(self, path: str) -> bytes:
        """Fetch a file or directory as a tar archive."""
        await self._enter("get")
        return await self._state.files.pack(path)

    async def kill(self, signal: str = "SIGKILL") -> None:
        """Send it a signal."""
        await self._enter("kill")
        if self._state.process is not None:
            self._state.process.deliver(signal)

    async def stop(self, grace: float = 10.0) -> None:
        """Ask it to end, and kill it after `grace` seconds."""
        await self._enter("stop")
        state = self._state
        if state.process is None:
            return
        state.process.deliver("SIGTERM")
        await state.ended_within(grace)
        if state.process is not None:
            state.process.deliver("SIGKILL")
        await state.ended()

    async def remove(self) -> None:
        """Kill it if it runs, and remove it."""
        await self._engine.enter("remove", self._engine.remove_seconds)
        state = self._state
        # All at once: a caller that is cancelled from here on leaves it removed.
        state.removed = True
        self._engine.forget(state)
        if state.process is not None:
            state.process.deliver("SIGKILL")
        state.bell.ring()
        await state.ended()

    async def _enter(self, verb: str, seconds: float = 0.0) -> None:
        await self._engine.enter(verb, seconds)
        self._check()

    def _check(self) -> None:
        self._engine.check()
        if self._state.removed:
            raise ContainerNotFound(f"no such container: {self._state.name}", status=404)
