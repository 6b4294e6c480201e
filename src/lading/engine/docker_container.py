"""One container of a Docker or Podman engine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_streams import FrameSplitter
from lading.engine.docker_wire import container_info, is_leaving, query, segment, stats
from lading.engine.podman_wire import without_padding
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerInfo, Exit, LogChunk, State, Stats
from lading.errors import ContainerNotFound, EngineError, EngineUnreachable

if TYPE_CHECKING:
    from lading.engine.base import OnWait
    from lading.engine.docker_api import Api
    from lading.engine.oom import OomJudge
    from lading.engine.reach import Reach

__all__ = ["DockerContainer"]

_ENDED = re.compile(r"is not running|can only kill running|container state improper|already exited")


class DockerContainer:
    """One container, see :class:`~lading.engine.base.Container`.

    Parameters
    ----------
    api : Api
    reach : Reach
        How its ports are reached.
    judge : OomJudge
        Finds out-of-memory kills that the engine did not notice.
    identity, name : str
        The engine's id of it, and its name.
    """

    def __init__(self, api: Api, reach: Reach, judge: OomJudge, identity: str, name: str) -> None:
        self._api = api
        self._reach = reach
        self._judge = judge
        self._id = identity
        self._name = name
        self._start_error = ""

    @property
    def news_delay(self) -> float:
        """Events come at once."""
        return 1.0

    @property
    def stats_interval(self) -> float:
        """Looks cost next to nothing."""
        return 0.0

    @property
    def id(self) -> str:
        """The engine's id of it."""
        return self._id

    @property
    def name(self) -> str:
        """Its name on the engine."""
        return self._name

    def __repr__(self) -> str:
        return f"<container {self._name} {self._id[:12]}>"

    async def start(self, on_wait: OnWait | None = None) -> None:  # noqa: ARG002
        """Start it; a container that runs already is left alone. It never waits for a place."""
        try:
            await self._api.call(
                "POST", f"{self._path}/start", self._call("starting"), accept=frozenset({304})
            )
        except (ContainerNotFound, EngineUnreachable):
            raise
        except EngineError as error:
            self._start_error = error.message  # Podman does not keep it
            raise

    async def inspect(self) -> ContainerInfo:
        """Look at it now."""
        return await self._read(await self._look())

    async def _read(self, found: dict[str, Any]) -> ContainerInfo:
        info = container_info(found)
        if info.exit is not None and not info.exit.out_of_memory:
            missed = await self._judge.killed(info)
            if missed:
                info = replace(info, exit=replace(info.exit, out_of_memory=True))
        if info.state is State.CREATED and self._start_error:
            ended = Exit(127, False, info.created, info.created, self._start_error)
            info = replace(info, state=State.EXITED, exit=ended)
        return info

    async def _look(self) -> dict[str, Any]:
        reply = await self._api.call("GET", f"{self._path}/json", self._call("inspecting"))
        found: dict[str, Any] = reply.json()
        return found

    async def wait(self) -> Exit:
        """Wait until it has ended, without polling; returns at once if it has."""
        condition = "not-running"
        while True:
            path = f"{self._path}/wait{query(condition=condition)}"
            async with self._api.stream("POST", path, self._call("waiting for")) as response:
                if condition == "next-exit":
                    # The engine answers as soon as it watches, and only then: what ended before
                    # that shows now, and what ends later ends the answer.
                    ended = (await self._look_unless_leaving()).exit
                    if ended is not None:
                        return ended
                await response.read()
            info = await self._look_unless_leaving()
            if info.exit is not None:
                return info.exit
            # It was not started yet: "not running" was true too early.
            condition = "next-exit" if info.state is State.CREATED else "not-running"

    async def _look_unless_leaving(self) -> ContainerInfo:
        found = await self._look()
        if is_leaving(found):
            raise ContainerNotFound(f"container {self._name} was removed meanwhile")
        return await self._read(found)

    async def logs(
        self, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[LogChunk]:
        """What it wrote so far, and with `follow` what it writes until it ends."""
        chunks = self._logs(follow=follow, tail=tail)
        if follow and self._api.podman:
            from lading.engine.podman_logs import follow_to_the_end  # noqa: PLC0415

            chunks = follow_to_the_end(self, chunks, whole=tail is None)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def _logs(self, *, follow: bool, tail: int | None) -> AsyncGenerator[LogChunk, None]:
        wanted = query(
            stdout=1,
            stderr=1,
            follow=1 if follow else None,
            tail=tail,
        )
        path, call = f"{self._path}/logs{wanted}", self._call("reading the logs of")
        splitter = FrameSplitter()
        last: dict[str, bytes] = {}
        async with self._api.stream("GET", path, call) as response:
            async for piece in response.chunks():
                for chunk in splitter.feed(piece):
                    last[chunk.stream] = chunk.data
                    yield chunk
        if follow and not self._api.podman:
            for chunk in await self._dropped(last):
                yield chunk

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[AsyncIterator[LogChunk]]:
        """Listen to it from before its start."""
        path = f"{self._path}/attach{query(stream=1, stdout=1, stderr=1)}"
        splitter = FrameSplitter()
        async with self._api.stream("POST", path, self._call("listening to")) as response:

            async def chunks() -> AsyncIterator[LogChunk]:
                async for piece in response.chunks():
                    for chunk in splitter.feed(piece):
                        yield chunk

            yield chunks()

    async def _dropped(self, last: dict[str, bytes]) -> list[LogChunk]:
        """Find the ends of lines that Docker has, but does not always tell who follows.

        Seen with 20.10: what a container writes without a newline just before it ends.
        """
        ends: dict[str, bytes] = {}
        try:
            async for chunk in self.logs(tail=2):
                ends[chunk.stream] = ends.get(chunk.stream, b"") + chunk.data
        except EngineError:
            return []
        found = []
        for stream, data in ends.items():
            end, told = (text.rpartition(b"\n")[2] for text in (data, last.get(stream, b"")))
            if end.startswith(told) and (not told or not end.endswith(told)):
                found.append(LogChunk(stream, end[len(told) :]))
        return [chunk for chunk in found if chunk.data]

    async def stats(self) -> Stats:
        """What it uses; zeros once it has ended."""
        path = f"{self._path}/stats?stream=false&one-shot=true"
        call = self._call("asking for the usage of")
        return stats((await self._api.call("GET", path, call)).json())

    async def connect(self, port: int) -> socket.socket:
        """Open a TCP connection to a port that it listens on."""
        try:
            return await self._reach.connect(self._id, port, self._look)
        except ContainerNotFound as error:
            raise ConnectionRefusedError(f"container {self._name} is gone") from error

    async def put(self, path: str, archive: bytes) -> None:
        """Unpack a tar archive into an existing directory of the container."""
        call = self._call("copying into")
        target = f"{self._path}/archive{query(path=path)}"
        try:
            if self._api.podman:  # makes what is missing; nothing is read but whether it is there
                async with self._api.stream("GET", target, call):
                    pass
                archive = without_padding(archive)
            await self._api.call("PUT", target, call, raw=archive)
        except EngineError as error:
            raise _file_error(error, path) from error

    async def get(self, path: str) -> bytes:
        """Fetch a file or directory as a tar archive."""
        call = self._call("copying out of")
        try:
            reply = await self._api.call("GET", f"{self._path}/archive{query(path=path)}", call)
        except EngineError as error:
            raise _file_error(error, path) from error
        return reply.body

    async def kill(self, signal: str = "SIGKILL") -> None:
        """Send it a signal; nothing happens if it has ended."""
        call = self._call(f"sending {signal} to")
        try:
            await self._api.call("POST", f"{self._path}/kill{query(signal=signal)}", call)
        except ContainerNotFound:
            raise
        except EngineError as error:
            if not _ENDED.search(error.message.lower()):
                raise

    async def stop(self, grace: float = 10.0) -> None:
        """Ask it to end (SIGTERM), and kill it after `grace` seconds; nothing if it has ended."""
        # Not the engine's own "stop": it sends what the image names instead of SIGTERM, counts in
        # whole seconds, and Podman's 0 is a kill.
        await self.kill("SIGTERM")
        try:
            async with asyncio.timeout(max(grace, 0)):
                await self.wait()
                return
        except TimeoutError:
            pass
        await self.kill()
        await self.wait()

    async def remove(self) -> None:
        """Kill it if it runs, and remove it with its anonymous volumes; nothing if it is gone."""
        await to_the_end(self._remove())

    async def _remove(self) -> None:
        call = self._call("removing")
        try:
            reply = await self._api.call(
                "DELETE", f"{self._path}?force=true&v=true", call, accept=frozenset({404, 409})
            )
            if reply.status == 409:  # somebody else is at it: gone means gone
                await self._gone(call)
        except ContainerNotFound:
            pass
        finally:
            self._reach.forget(self._id)  # afterwards: until then it may be connected to

    async def _gone(self, call: Call) -> None:
        path = f"{self._path}/wait?condition=removed"
        try:
            async with asyncio.timeout(self._api.timeout):
                async with self._api.stream("POST", path, call) as response:
                    await response.read()
        except TimeoutError as error:
            raise EngineError(
                f"{call.doing} failed: somebody else's removal of it does not end",
                fix="restart the engine",
            ) from error

    @property
    def _path(self) -> str:
        return f"/containers/{segment(self._id)}"

    def _call(self, doing: str) -> Call:
        return Call(f"{doing} container {self._name}", Thing.CONTAINER)


def _file_error(error: EngineError, path: str) -> Exception:
    """Tell a missing file, which has no class of its own on the wire, from the rest."""
    if isinstance(error, ContainerNotFound):
        return error
    words = error.message.lower()
    if "too many links" in words or "too many levels of symbolic links" in words:
        return FileNotFoundError(f"{path}: a circle of links in the container")
    if error.status == 404 or "could not find the file" in words or "no such file" in words:
        return FileNotFoundError(f"{path}: no such file or directory in the container")
    return error
