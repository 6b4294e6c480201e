"""A task container that serves: how it is called, and what its failures mean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading.contracts.meca import PORT
from lading.errors import (
    ContainerLost,
    ExitedEarly,
    LadingError,
    OutOfMemory,
    ReplyBroken,
    TaskFailed,
    TimedOut,
)
from lading.http1 import Client, Connection, open_socket
from lading.run.records import RunState
from lading.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lading.run.lifecycle import Running

__all__ = ["NotSent", "TaskReply", "TaskServer"]

_KEEP = 1.0
"""Seconds that an unused connection is kept: long enough for a busy task, and short enough that a
task which serves one connection after the other isn't held up by an idle one of ours."""

_PAUSE, _AFTERWORDS = 0.1, 0.5
"""Seconds without a word, and at the most, that are waited for what a task prints as it breaks
off: that comes on another way than its reply."""
_PROOF = 0.25
"""Part of the time that news of its end may take, for which a connection must stay open."""
_AFTERMATH = 2.0
"""Seconds to wait for the engine to say how a container ended, once its connection broke."""


class NotSent(Exception):  # a signal to the executor, never shown
    """The request can't have been processed: no connection could be opened."""


@dataclass(frozen=True, slots=True)
class TaskReply:
    """What the task answered."""

    body: bytes
    content_type: str


class TaskServer:
    """A running task container, ready to be called.

    Parameters
    ----------
    running : Running
    image : str
        As the caller named it, for messages.
    max_reply : int
        Most bytes of a reply.
    on_gone : callable
        Awaited once its container is removed.
    """

    def __init__(
        self,
        running: Running,
        *,
        image: str,
        max_reply: int,
        on_gone: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._on_gone = on_gone
        self._running = running
        self._image = image
        self._max_reply = max_reply
        self._client = Client(self._dial, host=f"localhost:{PORT}", idle=_KEEP)

    @property
    def name(self) -> str:
        """The container's name."""
        return self._running.container.name

    @property
    def run_id(self) -> str:
        """The id of the container's record."""
        return self._running.run_id

    @property
    def alive(self) -> bool:
        """Whether the container runs, as far as we know."""
        return self._running.alive

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call back once, when the container has ended."""
        self._running.on_exit(lambda _: callback())

    async def close(self) -> None:
        """Remove the container."""
        self._client.close()
        # A server that we end has done its duty; one that ended by itself is judged by its exit.
        await self._running.close(state=RunState.SUCCEEDED if self._running.alive else None)
        if self._on_gone is not None:
            await self._on_gone()

    async def _dial(self) -> Connection:
        return await open_socket(await self._running.connect(PORT))

    async def call(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        timeout: float,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> TaskReply:
        """Send one request.

        Parameters
        ----------
        timeout : float
            Seconds until the whole reply must be there.

        Raises
        ------
        NotSent
            No connection could be opened, so the task has not seen the request.
        TaskFailed
            It answered with another status than 2xx.
        TimedOut, OutOfMemory, ExitedEarly, ContainerLost, ReplyBroken, ReplyTooLarge
            The task may have done its work, or part of it.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, path, body, headers)
        except TimeoutError:
            raise TimedOut(
                f"task {self._image} did not answer within {format_seconds(timeout)}",
                seconds=timeout,
                logs=self._running.tail.tail(),
                fix="its container is replaced; allow it more time, or look at its log",
            ) from None

    async def _exchange(
        self, method: str, path: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> TaskReply:
        try:
            connection = await self._client.connect()
        except OSError as error:
            raise NotSent(str(error)) from error
        try:
            response = await connection.send(
                method, path, (("host", f"localhost:{PORT}"), *headers), body
            )
            content = await response.read(self._max_reply)
        except ConnectionError as error:
            raise await self._why(error, heard=connection.received) from error
        finally:
            self._client.release(connection)
        if not 200 <= response.status < 300:
            raise TaskFailed(
                f"task {self._image} replied {response.status}",
                status=response.status,
                body=content,
            )
        return TaskReply(content, response.headers.get("content-type", "text/plain"))

    async def _listens(self) -> bool:
        """Whether it still takes connections, so that nobody has to wait for its end."""
        try:
            sock = await self._running.connect(PORT)
        except (OSError, LadingError):
            return False
        try:
            # A cluster takes the connection itself, and closes it when it finds nobody there.
            async with asyncio.timeout(_PROOF * self._running.container.news_delay):
                await asyncio.get_running_loop().sock_recv(sock, 1)
        except TimeoutError:
            return True  # a server waits for what it is asked
        except OSError:
            return False
        finally:
            sock.close()
        return False

    async def _why(self, error: ConnectionError, *, heard: bool) -> LadingError:
        """Find out what broke the connection: usually the container's end."""
        ended = None
        if not await self._listens():
            ended = await self._running.explain(_AFTERMATH)
        if ended is None:
            await self._running.tail.settled(_PAUSE, _AFTERWORDS)  # what it says of its failure
            when = "in the middle of its reply" if heard else "without a reply"
            return ReplyBroken(
                f"task {self._image} closed the connection {when} ({error})",
                logs=self._running.tail.tail(),
                fix="it may have done its work; the request is not sent again",
            )
        if isinstance(ended, OutOfMemory):
            return ended
        text = f"{ended.message}, while it handled the request, which is not sent again"
        logs = self._running.tail.tail()
        fix = "it may have done part of its work; look at its log"
        if isinstance(ended, ExitedEarly):
            return ExitedEarly(text, code=ended.code, logs=logs, fix=fix)
        return ContainerLost(text, logs=logs, fix=fix)
