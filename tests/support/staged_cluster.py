"""An API server that answers what a test wants, for what no real one can be made to say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

from lading.engine.kubernetes.api import Api
from lading.engine.kubernetes.auth import Credential, Credentials, Fixed
from lading.engine.kubernetes.config import Access, Tls

NOBODY = Fixed(Credential())
CUT = b""
"""In place of an answer: the connection is closed."""


def status(code: int, reason: str = "", message: str = "", **details: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def reply(code: int, value: Any = None, *headers: str) -> bytes:
    body = json.dumps({} if value is None else value).encode()
    lines = [f"HTTP/1.1 {code} -", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refusal(code: int, reason: str = "", message: str = "", *headers: str) -> bytes:
    return reply(code, status(code, reason, message), *headers)


def events(*listed: dict[str, Any], end: bool = True) -> bytes:
    """The beginning of a watch, or all of it."""
    text = b"".join(
        b"%x\r\n%s\r\n" % (len(line), line)
        for line in (json.dumps(event).encode() + b"\n" for event in listed)
    )
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + text + (b"0\r\n\r\n" if end else b"")


class Broken(bytes):
    """An answer after which the connection is closed."""


class StagedCluster:
    """Answers each request with the next of these; those after the last wait for ever."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self._port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    self.asked.append(" ".join(head.split(" ")[:2]))
                    self.heads.append(head.lower())
                    length = head.lower().partition("content-length: ")[2].split("\r\n")[0]
                    self.bodies.append(await reader.readexactly(int(length or 0)))
                    if not self.replies:
                        await reader.read()
                    if not (answer := self.replies.pop(0)):
                        break
                    writer.write(answer)
                    if isinstance(answer, Broken):
                        await writer.drain()
                        writer.close()
                        break
        except IndexError:
            pass
        finally:
            self._connections.discard(writer)
            if not writer.is_closing():
                writer.transport.abort()

    @contextlib.asynccontextmanager
    async def listening(
        self, context: ssl.SSLContext | None = None, *, port: int = 0
    ) -> AsyncIterator[int]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", port, ssl=context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._connections:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def api(
        self,
        *,
        timeout: float = 10.0,
        credentials: Credentials = NOBODY,
        context: ssl.SSLContext | None = None,
        tls: Tls | None = None,
    ) -> AsyncIterator[Api]:
        async with self.listening(context) as port:
            scheme = "http" if context is None else "https"
            access = Access(
                f"{scheme}://127.0.0.1:{port}", "staged", "tasks", credentials, tls, source="x"
            )
            api = Api(access, timeout)
            try:
                yield api
            finally:
                await api.close()
