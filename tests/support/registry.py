"""A small registry: the pull side of the OCI distribution specification 1.1, with faults.

It serves one image, made of the root file system that it is given; engines speak plain HTTP with
registries at 127.0.0.0/8 (Docker), or where their configuration says so (Podman).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

_STAGED = ("UNKNOWN", "staged fault")
_WORDS = {403: ("DENIED", "requested access to the resource is denied")}


@dataclass
class Registry:
    """What it serves and how it misbehaves; may be changed while it runs.

    Parameters
    ----------
    layer : bytes
        A tar archive: the image's root file system.
    name, tag : str
        Of the image.
    login : tuple of str or None
        User and password that it asks for.
    fail : dict of str to int
        A status for every path that has this word in it: ``manifests``, ``blobs``, ``v2``.
    truncate : bool
        Blobs end in the middle.
    gate : asyncio.Event
        Blobs wait for it in the middle; set, unless a test clears it.
    """

    layer: bytes
    name: str = "test/probe"
    tag: str = "1"
    login: tuple[str, str] | None = None
    fail: dict[str, int] = field(default_factory=dict)
    truncate: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    requests: list[str] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()
        packed = gzip.compress(self.layer, mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Entrypoint": ["/probe"], "Cmd": ["serve"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(self.layer)]},
            }
        ).encode()
        self.blobs = {_digest(packed): packed, _digest(config): config}
        self.config_digest, self.layer_digest = _digest(config), _digest(packed)
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": _CONFIG, "size": len(config), "digest": _digest(config)
                },
                "layers": [
                    {"mediaType": _LAYER, "size": len(packed), "digest": _digest(packed)}
                ],
            }
        ).encode()  # fmt: skip

    @property
    def digest(self) -> str:
        """Of the manifest: what pins the image."""
        return _digest(self.manifest)

    @property
    def ref(self) -> str:
        """Of the image, for an engine on this machine."""
        return f"127.0.0.1:{self.port}/{self.name}:{self.tag}"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Registry]:
        """Serve on a free port of the loopback interface while the block runs."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.gate.set()
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await _head(reader):
                first, *lines = head.split("\r\n")
                method, target, _ = first.split(" ")
                login = next((x for x in lines if x.lower().startswith("authorization:")), "")
                self.requests.append(f"{method} {target}")
                await self._answer(writer, method, target.partition("?")[0], login)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.broken.set()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(
        self,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        login: str,
    ) -> None:
        for word, status in self.fail.items():
            if word in path:
                return await _send(writer, method, status, _error(*_WORDS.get(status, _STAGED)))
        if self.login and login.rpartition(" ")[2] != _basic(*self.login):
            asks = ("WWW-Authenticate", 'Basic realm="test"')
            return await _send(
                writer, method, 401, _error("UNAUTHORIZED", "authentication required"), asks
            )
        if path.rstrip("/") == "/v2":
            return await _send(writer, method, 200, b"{}")
        base = f"/v2/{self.name}"
        if path in (f"{base}/manifests/{self.tag}", f"{base}/manifests/{self.digest}"):
            return await _send(
                writer, method, 200, self.manifest, ("Content-Type", MANIFEST),
                ("Docker-Content-Digest", self.digest),
            )  # fmt: skip
        blob = self.blobs.get(path.removeprefix(f"{base}/blobs/"))
        if path.startswith(f"{base}/blobs/") and blob is not None:
            return await self._blob(writer, method, blob)
        if "/manifests/" in path:
            return await _send(writer, method, 404, _error("MANIFEST_UNKNOWN", "manifest unknown"))
        return await _send(writer, method, 404, _error("NAME_UNKNOWN", "name unknown"))

    async def _blob(self, writer: asyncio.StreamWriter, method: str, blob: bytes) -> None:
        kind = ("Content-Type", "application/octet-stream")
        await _send(writer, "HEAD", 200, blob, kind)
        if method == "HEAD":
            return
        half = len(blob) // 2
        writer.write(blob[:half])
        await writer.drain()
        if self.truncate:
            raise ConnectionResetError
        if not self.gate.is_set():
            self.waiting.set()
            await self.gate.wait()
        writer.write(blob[half:])
        await writer.drain()


async def _head(reader: asyncio.StreamReader) -> str:
    first = await reader.read(1)
    if first in (b"", b"\x16"):  # engines try TLS first: refused at once, not when they give up
        return ""
    return (first + await reader.readuntil(b"\r\n\r\n")).decode().strip()


async def _send(
    writer: asyncio.StreamWriter, method: str, status: int, body: bytes, *headers: tuple[str, str]
) -> None:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Length: {len(body)}",
        "Docker-Distribution-Api-Version: registry/2.0",
        *(f"{name}: {value}" for name, value in headers),
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if method == "HEAD" else body))
    await writer.drain()


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
