"""Something between us and a server that breaks connections when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import yaml


class Between:
    """Passes everything on, until it is told not to.

    Attributes
    ----------
    address : str
        Where it listens: host and port.
    passed : int
        Bytes that it has passed on so far, either way.
    """

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.passed = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def listen(self) -> None:
        """Take connections (again)."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in self._open:
            writer.transport.abort()

    def leave(self) -> None:
        """Break every connection, and refuse others: the server is away."""
        if self._server is not None:
            self._server.close()
        self.cut()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                back, there = await asyncio.open_connection(*self._place)
                self._open.add(there)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._copy(reader, there))
                    group.create_task(self._copy(back, writer))
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()
                    self._open.discard(end)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def between(host: str, port: int) -> AsyncIterator[Between]:
    proxy = Between(host, port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        proxy.leave()
        while proxy._open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)


def kubeconfig_by_way_of(source: Path, target: Path, **cluster: str) -> Path:
    """Write a kubeconfig that is another one, but for these fields of its cluster."""
    content = yaml.safe_load(source.read_text())
    for item in content["clusters"]:
        at = item["cluster"]
        if name := at.get("certificate-authority"):
            at["certificate-authority"] = str((source.parent / name).resolve())
        at |= cluster
    for item in content["users"]:
        for key in ("client-certificate", "client-key", "tokenFile"):
            if name := item["user"].get(key):
                item["user"][key] = str((source.parent / name).resolve())
    target.write_text(yaml.safe_dump(content))
    return target


def kubeconfig_of_token(source: Path, target: Path, token: str) -> Path:
    """Write a kubeconfig that is another one, but for who we are."""
    content = yaml.safe_load(source.read_text())
    for item in content["users"]:
        item["user"] = {"token": token}
    target.write_text(yaml.safe_dump(content))
    return target
