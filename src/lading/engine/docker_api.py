"""Calls to the Docker Engine API: connection, time limit, and errors in our words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lading.engine.docker_errors import Call, sentence, translate
from lading.errors import EngineError, EngineUnreachable
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.http1 import Body, Client, Connection, Response

__all__ = ["Api", "Reply", "unreachable"]

_REPEATABLE = frozenset({"GET", "DELETE"})
_QUOTED = 60
"""Bytes of a reply that is none which are shown."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply to what `doing` names."""

    status: int
    body: bytes
    doing: str

    def json(self) -> Any:
        """Read the body as JSON; nothing is an empty object.

        Raises
        ------
        EngineError
            It is none: whatever answered is no engine.
        """
        try:
            return json.loads(self.body) if self.body.strip() else {}
        except ValueError as error:
            raise EngineError(
                f"{self.doing} failed: what answers is no container engine, it says "
                f"{self.body[:_QUOTED].decode(errors='replace')!r}",
                fix="name the engine's address with --engine or DOCKER_HOST",
            ) from error


class Api:
    """The engine's HTTP interface.

    Parameters
    ----------
    client : Client
        Connections to it.
    address : str
        Where it answers, for messages.
    timeout : float
        Seconds for a call that isn't a wait, a stream, a pull or a build.

    Attributes
    ----------
    prefix : str
        The version that paths begin with, once it is known: ``/v1.41``.
    podman : bool
        Whether it is Podman, once that is known.
    """

    def __init__(self, client: Client, address: str, timeout: float) -> None:
        self._client = client
        self.address = address
        self.timeout = timeout
        self.prefix = ""
        self.podman = False
        self._closed = False

    async def call(
        self,
        method: str,
        path: str,
        doing: Call,
        *,
        body: Any = None,
        raw: Body | None = None,
        accept: frozenset[int] = frozenset(),
        headers: tuple[tuple[str, str], ...] = (),
        absolute: bool = False,
    ) -> Reply:
        """Make a call, and read its whole reply.

        Parameters
        ----------
        method, path : str
            `path` comes after the version's prefix, unless it is `absolute`.
        doing : Call
            For the error.
        body, raw
            What is sent: a value as JSON, or a tar archive, whole or in pieces.
        accept : frozenset of int
            Statuses from 300 up that are no error here.

        Raises
        ------
        EngineUnreachable
            Nothing answers, in time or at all.
        EngineError
            Or what the refusal means.
        """
        try:
            async with (
                asyncio.timeout(self.timeout),
                self.stream(
                    method, path, doing, body=body, raw=raw, accept=accept, headers=headers,
                    absolute=absolute,
                ) as response,
            ):  # fmt: skip
                return Reply(response.status, await response.read(), doing.doing)
        except TimeoutError as error:
            raise EngineUnreachable(
                f"{doing.doing} failed: the engine at {self.address} did not answer "
                f"within {format_seconds(self.timeout)}",
                fix="see whether it is overloaded, or give it longer with --engine-timeout",
            ) from error

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        doing: Call,
        *,
        body: Any = None,
        raw: Body | None = None,
        accept: frozenset[int] = frozenset(),
        headers: tuple[tuple[str, str], ...] = (),
        absolute: bool = False,
    ) -> AsyncIterator[Response]:
        """Make a call whose reply is read as it comes, for as long as it takes.

        Leaving the block before the reply's end closes the connection, which tells the engine
        that nobody listens any more.
        """
        if self._closed:
            raise EngineError(f"{doing.doing} failed: the connection to the engine was closed")
        if body is not None:
            raw, headers = json.dumps(body).encode(), (("content-type", "application/json"),)
        elif raw is not None:
            headers = (("content-type", "application/x-tar"), *headers)
        target = path if absolute else self.prefix + path
        source = None if raw is None or isinstance(raw, bytes) else _Source(raw)
        connection: Connection | None = None
        try:
            connection, response = await self._send(method, target, headers, source or raw or b"")
            if response.status >= 300 and response.status not in accept:
                raise translate(doing, response.status, await self._words(response))
            yield response
        except OSError as error:
            if isinstance(error, TimeoutError) or (source and source.error is error):
                raise
            raise unreachable(self.address, f"{doing.doing} failed", error) from error
        finally:
            if connection is not None:
                self._client.release(connection)

    async def _words(self, response: Response) -> str:
        try:
            async with asyncio.timeout(self.timeout):
                return sentence(await response.read())
        except TimeoutError:
            return ""  # the status says something, too

    async def _send(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...], body: Body
    ) -> tuple[Connection, Response]:
        head = (("host", "engine"), *headers)
        while True:
            connection = await self._client.connect()
            kept = connection.idle_since > 0
            try:
                return connection, await connection.send(method, target, head, body)
            except ConnectionError:
                self._client.release(connection)
                # An engine that was restarted has closed what we kept: nothing of this call can
                # have been done twice if it only looks, or removes.
                if not kept or connection.received or method not in _REPEATABLE:
                    raise
            except BaseException:
                self._client.release(connection)
                raise

    def close(self) -> None:
        """Close what is kept, and refuse further calls."""
        self._closed = True
        self._client.close()


class _Source:
    """What is sent, in pieces; an error of whoever makes it is told from the engine's."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:
            self.error = error
            raise


def unreachable(address: str, what: str, error: OSError) -> EngineError:
    """Say why an engine can't be reached, and what helps."""
    path = address.removeprefix("unix://")
    if isinstance(error, PermissionError):
        return EngineUnreachable(
            f"{what}: no permission to use the engine's socket {path}",
            fix="join the group that owns it (sudo usermod -aG docker $USER, then log in again), "
            "run with sudo, or use a rootless engine",
        )
    if isinstance(error, FileNotFoundError):
        return EngineUnreachable(
            f"{what}: there is no engine at {address} (no such socket)",
            fix="start it, or name another with --engine or DOCKER_HOST",
        )
    # asyncio replaces the system's words by its own; TLS has numbers of its own.
    system = error.errno if isinstance(error, ConnectionError) else None
    reason = os.strerror(system) if system else str(error) or type(error).__name__
    return EngineUnreachable(
        f"{what}: the engine at {address} is not reachable: {reason}",
        fix="see whether it runs (docker info, podman info), or name another with --engine",
    )
