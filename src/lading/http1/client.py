"""Connections to one server, and how they are opened."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Self

from lading.http1.connection import Body, Connection, Headers, Response

if TYPE_CHECKING:
    import socket
    import ssl

__all__ = ["Client", "open_socket", "open_tcp", "open_unix"]

Dial = Callable[[], Awaitable[Connection]]


async def open_unix(path: str) -> Connection:
    """Connect to a Unix socket."""
    loop = asyncio.get_running_loop()
    return (await loop.create_unix_connection(Connection, path))[1]


async def open_tcp(
    host: str, port: int, tls: ssl.SSLContext | None = None, *, server_name: str | None = None
) -> Connection:
    """Connect to a TCP port.

    Parameters
    ----------
    tls : ssl.SSLContext or None
        None speaks plain HTTP.
    server_name : str or None
        Whose certificate the other end must show; None: that of `host`.
    """
    loop = asyncio.get_running_loop()
    made = loop.create_connection(Connection, host, port, ssl=tls, server_hostname=server_name)
    return (await made)[1]


async def open_socket(sock: socket.socket) -> Connection:
    """Take over a connected stream socket."""
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Connection, sock=sock))[1]


class Client:
    """Connections to one server, kept while they are fresh.

    Parameters
    ----------
    dial : callable
        Opens a connection.
    host : str
        What the ``Host`` header says.
    idle : float
        Seconds that an unused connection is kept. Short, so that a server which serves one
        connection after the other isn't held up by one that we keep for nothing, and so that we
        rarely write to one that the server is about to close.
    """

    def __init__(self, dial: Dial, *, host: str, idle: float) -> None:
        self._dial = dial
        self._host = ("host", host)
        self._idle_limit = idle
        self._idle: deque[Connection] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def connect(self) -> Connection:
        """Take the most recently used connection that is still open, or open one.

        Whoever takes it gives it to :meth:`release`, also after an error.

        Raises
        ------
        OSError
            Nothing listens there.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return await self._dial()

    def release(self, connection: Connection) -> None:
        """Give a connection back; one that can't be used again is closed."""
        if self._closed or not connection.reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_limit, self._sweep)

    async def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: Body = b"",
        *,
        limit: int | None = None,
    ) -> tuple[Response, bytes]:
        """Send a request and read the whole reply.

        Returns
        -------
        (Response, bytes)
            The head, and the body.

        Raises
        ------
        OSError
            Nothing listens there, or the connection broke.
        ReplyTooLarge
            The body is larger than `limit` bytes.
        """
        async with self.stream(method, target, headers, body) as response:
            return response, await response.read(limit)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Headers = (), body: Body = b""
    ) -> AsyncIterator[Response]:
        """Send a request; the block reads the reply as it comes, or leaves the rest of it."""
        connection = await self.connect()
        try:
            yield await connection.send(method, target, (self._host, *headers), body)
        finally:
            self.release(connection)

    def close(self) -> None:
        """Close what is kept; connections in use are closed when they are released."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._idle:
            self._idle.pop().close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_limit
        while self._idle and (not self._idle[0].open or self._idle[0].idle_since <= oldest):
            self._idle.popleft().close()
        self._sweeper = None
        if self._idle:
            wait = self._idle[0].idle_since + self._idle_limit - loop.time()
            self._sweeper = loop.call_later(max(wait, 0.01), self._sweep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
