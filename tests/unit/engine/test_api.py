"""Calls of an engine that misbehaves in ways that no real one can be made to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lading.engine.docker_address import UnixDial
from lading.engine.docker_api import Api
from lading.engine.docker_errors import Call
from lading.errors import EngineError, EngineUnreachable
from lading.http1 import Client

DOING = Call("doing something")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Engine:
    """Answers each request with the next of these; at an empty one it closes the connection."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.replies:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head.split(b" ")[0].decode())
                if not (reply := self.replies.pop(0)):
                    break
                writer.write(reply)
            else:
                await reader.read()
        writer.close()

    @contextlib.asynccontextmanager
    async def api(self, folder: Path, timeout: float = 10.0) -> AsyncIterator[Api]:
        path = folder / "engine.sock"
        async with await asyncio.start_unix_server(self.serve, str(path)):
            api = Api(
                Client(UnixDial(str(path)), host="engine", idle=60), f"unix://{path}", timeout
            )
            yield api
            api.close()
            await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_kept_connection_that_the_engine_just_closed(tmp_path: Path, method: str) -> None:
    engine = Engine(OK, b"", OK)
    async with engine.api(tmp_path) as api:
        await api.call("GET", "/", DOING)
        await api.call(method, "/", DOING)
    assert engine.asked == ["GET", method, method]


async def test_what_may_have_been_done_is_not_done_twice(tmp_path: Path) -> None:
    engine = Engine(OK, b"", OK)
    async with engine.api(tmp_path) as api:
        await api.call("GET", "/", DOING)
        with pytest.raises(EngineUnreachable):
            await api.call("POST", "/", DOING)
    assert engine.asked == ["GET", "POST"]


async def test_what_a_new_connection_breaks_is_not_tried_again(tmp_path: Path) -> None:
    engine = Engine(b"", OK)
    async with engine.api(tmp_path) as api:
        with pytest.raises(EngineUnreachable):
            await api.call("GET", "/", DOING)
    assert engine.asked == ["GET"]


async def test_no_answer_in_time(tmp_path: Path) -> None:
    engine = Engine(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    async with engine.api(tmp_path, timeout=0.05) as api:
        with pytest.raises(EngineUnreachable, match="did not answer within 50 ms"):
            await api.call("GET", "/", DOING)


async def test_a_refusal_without_its_words(tmp_path: Path) -> None:
    """Of a stream: nothing else bounds how long its beginning may take."""
    engine = Engine(b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n")
    async with engine.api(tmp_path, timeout=0.05) as api:
        with pytest.raises(EngineError, match="answered 500 without a word"):
            async with api.stream("POST", "/", DOING):
                pass
