"""A container of the fake engine, from created to removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lading.engine.spec import ContainerInfo, ContainerSpec, Exit, LogChunk, State
from lading.errors import EngineError
from lading.testing.fake_files import FakeFiles
from lading.testing.fake_process import FakeProcess

if TYPE_CHECKING:
    import socket

    from lading.testing.fake_image import FakeImage

__all__ = ["Bell", "ContainerState"]


class Bell:
    """Wakes everyone who waits, as often as it rings."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everyone who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next ring."""
        await self._event.wait()


class ContainerState:
    """What the engine knows of one container; its handles look at this.

    Attributes
    ----------
    process : FakeProcess or None
        While it runs.
    exit : Exit or None
        Once it has ended, until it is started again.
    removed : bool
        Whether its removal has begun.
    bell : Bell
        Rings when it writes, ends or is removed.
    """

    def __init__(
        self, container_id: str, name: str, spec: ContainerSpec, image: FakeImage, image_name: str
    ) -> None:
        self.id = container_id
        self.name = name
        self.spec = spec
        self.image = image
        self.image_name = image_name
        self.created = datetime.now(UTC)
        self.files = FakeFiles(image.files, spec.mounts)
        self.process: FakeProcess | None = None
        self.exit: Exit | None = None
        self.removed = False
        self.addresses: dict[str, str] = {}
        self.bell = Bell()
        self._chunks: list[LogChunk] = []
        self._run: asyncio.Task[None] | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments, as the spec changes the image's."""
        spec, image = self.spec, self.image
        if spec.command is not None:
            return spec.command + (spec.args or ())
        return image.entrypoint + (image.command if spec.args is None else spec.args)

    @property
    def state(self) -> State:
        """Where it is in its life."""
        if self.process is not None:
            return State.RUNNING
        return State.CREATED if self.exit is None else State.EXITED

    def info(self) -> ContainerInfo:
        """Describe it now."""
        return ContainerInfo(
            id=self.id,
            name=self.name,
            image=self.image_name,
            image_id=self.image.id,
            state=self.state,
            labels={**self.image.labels, **self.spec.labels},
            created=self.created,
            pid=self.process.pid if self.process else None,
            exit=self.exit,
            limits=self.spec.limits,
            networks=dict(self.addresses),
        )

    def start(
        self,
        pid: int,
        dial: Callable[[str, int], Awaitable[socket.socket]],
        on_end: Callable[[], None],
    ) -> None:
        """Run its program.

        Raises
        ------
        EngineError
            The image has no such program.
        """
        argv = self.argv
        if not argv:
            raise EngineError(
                f"container {self.name}: no command specified",
                status=400,
                fix="set command, or give the image an entrypoint",
            )
        if argv[0] != self.image.entrypoint[0]:
            raise EngineError(
                f"container {self.name}: exec: {argv[0]!r}: no such file or directory in image "
                f"{self.image_name}",
                status=400,
                fix=f"the only program of this fake image is {self.image.entrypoint[0]}",
            )
        self.exit = None
        self.process = FakeProcess(
            argv=argv,
            env={**self.image.env, **self.spec.env},
            spec=self.spec,
            pid=pid,
            hostname=self.id[:12],
            user=self.spec.user or self.image.user,
            directory=self.spec.directory or self.image.directory or "/",
            files=self.files,
            output=self._write,
            dial=dial,
        )
        self._run = asyncio.create_task(
            self._supervise(self.process, on_end), name=f"fake container {self.name}"
        )

    async def ended(self) -> None:
        """Wait until it does not run; cancelling this does not end it."""
        if self._run is not None and not self._run.done():
            await asyncio.wait([self._run])

    async def ended_within(self, seconds: float) -> None:
        """Wait until it does not run, or that long."""
        if self._run is not None and not self._run.done():
            await asyncio.wait([self._run], timeout=seconds)

    async def logs(
        self, *, follow: bool, tail: int | None, check: Callable[[], None]
    ) -> AsyncIterator[LogChunk]:
        """What it wrote, and with `follow` what it writes; `check` raises to break off."""
        position = 0
        if tail is not None:
            position = len(self._chunks)
            for line in _lines(self._chunks)[-tail:] if tail else ():
                yield line
        while True:
            while position < len(self._chunks):
                position += 1
                yield self._chunks[position - 1]
            if not follow or self.process is None or self.removed:
                return
            await self.bell.wait()
            check()

    def heard(self, *, check: Callable[[], None]) -> AsyncIterator[LogChunk]:
        """What it writes from now on, though it has not been started."""
        return self._heard(len(self._chunks), self.exit, check)

    async def _heard(
        self, position: int, exits: Exit | None, check: Callable[[], None]
    ) -> AsyncIterator[LogChunk]:
        while True:
            while position < len(self._chunks):
                position += 1
                yield self._chunks[position - 1]
            if self.removed or (self.exit is not exits and self.process is None):
                return
            await self.bell.wait()
            check()

    def _write(self, stream: str, data: bytes) -> None:
        if data:
            self._chunks.append(LogChunk(stream, bytes(data)))
            self.bell.ring()

    async def _supervise(self, process: FakeProcess, on_end: Callable[[], None]) -> None:
        started = datetime.now(UTC)
        code, out_of_memory = 137, False
        try:
            code, out_of_memory = await process.run(self.image.program)
        finally:
            self.process = None
            self.exit = Exit(code, out_of_memory, started, datetime.now(UTC))
            on_end()
            self.bell.ring()


def _lines(chunks: list[LogChunk]) -> list[LogChunk]:
    """One chunk per line; a line that was written in pieces is one."""
    lines: list[LogChunk] = []
    for chunk in chunks:
        for piece in chunk.data.splitlines(keepends=True):
            last = lines[-1] if lines else None
            if last and last.stream == chunk.stream and not last.data.endswith(b"\n"):
                lines[-1] = LogChunk(chunk.stream, last.data + piece)
            else:
                lines.append(LogChunk(chunk.stream, piece))
    return lines
