"""What tests do with containers of the probe, on any engine."""

from __future__ import annotations

import asyncio
import json

from lading.engine import Container
from lading.http1 import open_socket

MARK = b"meca-init-done\n"


async def output(
    container: Container, *, follow: bool = False, tail: int | None = None
) -> tuple[bytes, bytes]:
    """Everything on stdout, and on stderr."""
    streams = {"stdout": b"", "stderr": b""}
    async for chunk in container.logs(follow=follow, tail=tail):
        streams[chunk.stream] += chunk.data
    return streams["stdout"], streams["stderr"]


async def ready(container: Container) -> None:
    """Wait until the probe serves."""
    seen = b""
    logs = container.logs(follow=True)
    async for chunk in logs:
        seen += chunk.data
        if MARK in seen:
            break
    await logs.aclose()  # type: ignore[attr-defined]
    assert MARK in seen, f"the probe ended: {seen!r}"


async def call(container: Container, body: object, port: int = 8080) -> tuple[int, bytes]:
    """POST to the probe: bytes as they are, anything else as JSON."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = await open_socket(await container.connect(port))
    try:
        response = await connection.send("POST", "/", [("host", "probe")], payload)
        return response.status, await response.read()
    finally:
        connection.close()


async def said(container: Container, words: bytes) -> None:
    """Wait until it has printed this."""
    heard = b""
    logs = container.logs(follow=True)
    async with asyncio.timeout(20):
        async for chunk in logs:
            heard += chunk.data
            if words in heard:
                break
    await logs.aclose()  # type: ignore[attr-defined]
    assert words in heard, f"it never came: {heard!r}"
