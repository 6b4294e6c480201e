"""The HTTP/1.1 client against real sockets, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import ReplyTooLarge
from lading.http1 import Client, open_unix

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = 0
    for line in head.split("\r\n"):
        if line.lower().startswith("content-length:"):
            length = int(line.partition(":")[2])
    return head, await reader.readexactly(length)


@contextlib.asynccontextmanager
async def served(handler: Handler, path: Path, idle: float = 5.0) -> AsyncIterator[Client]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(handle, path)
    try:
        async with Client(lambda: open_unix(str(path)), host="there", idle=idle) as client:
            yield client
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def replying(*replies: bytes) -> tuple[Handler, list[str]]:
    """Answers each request on a connection with the next of these bytes, then closes."""
    seen: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            head, body = await read_request(reader)
            seen.append(head.partition("\r\n")[0] + " " + body.decode())
            writer.write(reply)
            await writer.drain()

    return handler, seen


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_connections_are_kept(tmp_path: Path) -> None:
    connections = 0
    inner, seen = replying(OK, OK, OK)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await inner(reader, writer)

    async with served(handler, tmp_path / "s") as client:
        for body in (b"", b"two", b"three"):
            response, content = await client.request("POST", "/x", (("a", "b"),), body)
            assert (response.status, content) == (200, b"ok")
    assert connections == 1
    assert seen == ["POST /x HTTP/1.1 ", "POST /x HTTP/1.1 two", "POST /x HTTP/1.1 three"]


async def test_a_connection_the_server_closed_is_not_used(tmp_path: Path) -> None:
    handler, seen = replying(OK)
    async with served(handler, tmp_path / "s") as client:
        for _ in range(3):
            assert (await client.request("GET", "/"))[1] == b"ok"
            await asyncio.sleep(0.02)  # the server's close arrives
    assert len(seen) == 3


async def test_idle_connections_are_closed(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        if not await reader.read(1):
            closed.set()

    async with served(handler, tmp_path / "s", idle=0.05) as client:
        await client.request("GET", "/")
        async with asyncio.timeout(5):
            await closed.wait()


@pytest.mark.parametrize(
    ("reply", "content"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", b"x"),
    ],
)
async def test_every_way_to_end_a_body(tmp_path: Path, reply: bytes, content: bytes) -> None:
    async with served(replying(reply)[0], tmp_path / "s") as client:
        response, body = await client.request("GET", "/")
        assert response.status in (200, 201, 204)
        assert body == content


@given(cuts=st.lists(st.integers(1, 60), max_size=8))
@settings(max_examples=30, deadline=None)
async def test_replies_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        rest = reply
        for cut in cuts:
            writer.write(rest[:cut])
            rest = rest[cut:]
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(rest)
        await reader.read(1)

    async with served(handler, tmp_path_factory.mktemp("http") / "s") as client:
        assert (await client.request("GET", "/"))[1] == b"hello"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"this is not HTTP at all\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx",
    ],
)
async def test_broken_replies_are_errors(tmp_path: Path, reply: bytes) -> None:
    async with served(replying(reply)[0], tmp_path / "s") as client:
        with pytest.raises(ConnectionError):
            await client.request("GET", "/")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-Endless: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Endless: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;endless=",
    ],
)
async def test_endless_headers_are_cut_off(tmp_path: Path, head: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(b"a" * 10_000)
            await writer.drain()

    async with served(handler, tmp_path / "s") as client:
        with pytest.raises(ConnectionError, match="bytes of headers"):
            await client.request("GET", "/", limit=1000)


async def test_a_reply_in_tiny_chunks_takes_no_more_memory(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            writer.write(b"2\r\nab\r\n" * 1000)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async with served(handler, tmp_path / "s") as client:
        tracemalloc.start()
        try:
            _, body = await client.request("GET", "/")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert body == b"ab" * 100_000
    assert peak < 5e6  # and not a hundred bytes for each two


async def test_what_nobody_asked_for_ends_the_connection(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await asked.wait()
        writer.write(OK)
        assert await reader.read(1) == b""

    async with served(handler, tmp_path / "s") as client:
        connection = await client.connect()
        response = await connection.send("GET", "/", (("host", "x"),))
        assert await response.read() == b"ok"
        asked.set()
        while connection.open:
            await asyncio.sleep(0)
        client.release(connection)


async def test_a_second_reply_in_the_same_piece_is_not_added_to_the_first(tmp_path: Path) -> None:
    evil = b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil"
    serve, connections = replying(OK + evil)
    async with served(serve, tmp_path / "s") as client:
        for _ in range(2):
            response, body = await client.request("GET", "/")
            assert (body, "x-evil" in response.headers) == (b"ok", False)
        assert len(connections) == 2


async def test_whether_anything_came_is_known(tmp_path: Path) -> None:
    async with served(replying(b"")[0], tmp_path / "s") as client:
        connection = await client.connect()
        with pytest.raises(ConnectionError):
            await connection.send("GET", "/", (("host", "x"),))
        assert not connection.received
        client.release(connection)
    async with served(replying(b"HTTP/1.1 2")[0], tmp_path / "t") as client:
        connection = await client.connect()
        with pytest.raises(ConnectionError):
            await connection.send("GET", "/", (("host", "x"),))
        assert connection.received
        client.release(connection)


@pytest.mark.parametrize(
    "head", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nF4240\r\n"]
)
async def test_limits(tmp_path: Path, head: bytes) -> None:
    async with served(
        replying(b"HTTP/1.1 200 OK\r\n" + head + b"x" * 1_000_000)[0], tmp_path / "s"
    ) as client:
        with pytest.raises(ReplyTooLarge, match="1000 B"):
            await client.request("GET", "/", limit=1000)


async def test_a_slow_reader_holds_the_sender_back(tmp_path: Path) -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(200):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with served(handler, tmp_path / "s") as client, client.stream("GET", "/") as response:
        await asyncio.sleep(0.3)
        assert sent < 3_000_000
        size = 0
        async for chunk in response.chunks():
            size += len(chunk)
        assert size == 20_000_000


async def test_a_cancelled_request_closes_its_connection(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if not await reader.read(1):
            gone.set()

    async with served(handler, tmp_path / "s") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.request("GET", "/")
        async with asyncio.timeout(5):
            await gone.wait()


async def test_leaving_a_stream_early_closes_its_connection(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        if not await reader.read(1):
            gone.set()

    async with served(handler, tmp_path / "s") as client:
        async with client.stream("GET", "/") as response:
            async for chunk in response.chunks():
                assert chunk == b"a"
                break
        async with asyncio.timeout(5):
            await gone.wait()


async def read_pieces(reader: asyncio.StreamReader) -> bytes:
    """The body of a request in chunks, whose head was read."""
    whole = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        whole += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return whole


class Pieces:
    """A body in pieces, told apart: how many were taken, and whether it was closed."""

    def __init__(self, *pieces: bytes, times: int = 1, fails: Exception | None = None) -> None:
        self._pieces, self._times, self._fails = pieces, times, fails
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self._times):
                for piece in self._pieces:
                    self.taken += 1
                    yield piece
            if self._fails is not None:
                raise self._fails
        finally:
            self.closed = True


async def test_a_body_in_pieces(tmp_path: Path) -> None:
    got: list[tuple[str, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            got.append((head, await read_pieces(reader)))
            writer.write(OK)
            await writer.drain()

    async with served(handler, tmp_path / "s") as client:
        for body in (Pieces(b"one", b"", b"\r\n0\r\n\r\n"), Pieces()):
            response, content = await client.request("POST", "/", (), body)
            assert (response.status, content, body.closed) == (200, b"ok", True)
    assert [body for _, body in got] == [b"one\r\n0\r\n\r\n", b""]
    assert all("transfer-encoding: chunked" in head for head, _ in got)
    assert not any("content-length" in head for head, _ in got)


async def test_no_more_of_a_body_is_taken_than_the_other_end_keeps_up_with(tmp_path: Path) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    body = Pieces(bytes(1 << 20), times=64)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await go_on.wait()
        assert len(await read_pieces(reader)) == 64 << 20
        writer.write(OK)

    async with served(handler, tmp_path / "s") as client:
        sending = asyncio.create_task(client.request("POST", "/", (), body))
        await arrived.wait()
        for _ in range(1000):  # turns of the loop: as many as an unbounded sender would need
            await asyncio.sleep(0)
        assert body.taken < 10
        go_on.set()
        assert (await sending)[1] == b"ok"
        assert body.taken == 64


async def test_a_body_that_is_refused_is_not_sent_to_its_end(tmp_path: Path) -> None:
    body = Pieces(bytes(1 << 16), times=1 << 20)
    connections: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        connections.append(head.partition(" ")[0])
        if head.startswith("GET"):
            writer.write(OK)
        else:
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await writer.drain()
        await reader.read()

    async with served(handler, tmp_path / "s") as client:
        response, content = await client.request("POST", "/", (), body)
        assert (response.status, content) == (413, b"no!")
        assert body.closed
        assert body.taken < 1 << 20
        # What is half sent is not used again: this one has a connection of its own.
        assert (await client.request("GET", "/"))[1] == b"ok"
    assert connections == ["POST", "GET"]


async def test_a_body_that_fails_closes_its_connection(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.readuntil(b"\r\n\r\n")
        seen.append(await reader.read())

    async with served(handler, tmp_path / "s") as client:
        body = Pieces(b"x", fails=ValueError("unreadable"))
        with pytest.raises(ValueError, match="unreadable"):
            await client.request("POST", "/", (), body)
        async with asyncio.timeout(10):
            while not seen:
                await asyncio.sleep(0.01)
    assert b"0\r\n\r\n" not in seen[0]


async def test_nothing_listens(tmp_path: Path) -> None:
    async with Client(lambda: open_unix(str(tmp_path / "no")), host="x", idle=1) as client:
        with pytest.raises(FileNotFoundError):
            await client.request("GET", "/")
