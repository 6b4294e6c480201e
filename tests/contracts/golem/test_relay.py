"""The Unix socket that leads to a port of a container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from lading.contracts.golem.driver import relay as relays
from lading.contracts.golem.driver.relay import Relay

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[Callable[[], Awaitable[socket.socket]]]:
    """What stands for a container's port: yields what connects to it."""

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(whole, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def connect() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async with server:
        yield connect


class Impatient:
    """A connection that is read although it was told to pause, as in Python 3.11.2."""

    def __init__(self, end: asyncio.Protocol) -> None:
        self._end = end

    def __getattr__(self, name: str) -> object:
        return getattr(self._end, name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._end.connection_made(transport)
        transport.resume_reading()  # type: ignore[attr-defined]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def opened(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(address(relay))


def address(relay: Relay) -> str:
    return "\0" + relay.target.removeprefix("unix-abstract:")


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_what_is_written_comes_back_in_both_directions() -> None:
    async with serving(echo) as connect, Relay(connect) as relay:
        for _ in range(3):
            reader, writer = await opened(relay)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            await closed(writer)


async def test_a_direction_may_end_while_the_other_goes_on() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()  # until its end
        writer.write(data.upper())

    async with serving(late) as connect, Relay(connect) as relay:
        reader, writer = await opened(relay)
        writer.write(b"to the end")
        writer.write_eof()
        assert await reader.read() == b"TO THE END"
        await closed(writer)


async def test_large_messages_pass_and_a_slow_reader_halts_the_writer() -> None:
    size = 64 << 20
    sent = 0
    go_on = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        piece = bytes(1 << 20)
        while sent < size:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            if sent == 16 << 20:
                go_on.set()

    async with serving(flood) as connect, Relay(connect) as relay:
        reader, writer = await opened(relay)
        # Nobody reads: what lies between is bounded, so the flood never gets to 16 MiB.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await go_on.wait()
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        assert got == sent == size
        await closed(writer)


async def test_it_waits_until_somebody_listens_and_wastes_no_connection() -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await echo(reader, writer)

    async with serving(count) as connect:
        refusals = 3

        async def late() -> socket.socket:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise ConnectionRefusedError
            return await connect()

        async with Relay(late) as relay:
            await relay.until_listening()
            reader, writer = await opened(relay)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            assert connections == 1
            await closed(writer)


async def test_a_connection_that_the_container_refuses_or_breaks_is_broken_here() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def refuse() -> socket.socket:
        raise ConnectionRefusedError

    async with Relay(refuse) as relay:
        reader, writer = await opened(relay)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await closed(writer)
    async with serving(hang_up) as connect, Relay(connect) as relay:
        reader, writer = await opened(relay)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await closed(writer)


async def test_nothing_is_left() -> None:
    async with serving(echo) as connect:
        async with Relay(connect) as relay:
            await relay.until_listening()
            open_still = [await opened(relay) for _ in range(5)]
            for _, writer in open_still:
                writer.write(b"x")
            assert await open_still[0][0].readexactly(1) == b"x"
        with pytest.raises(ConnectionRefusedError):
            await opened(relay)
        for reader, writer in open_still:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            await closed(writer)


STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1].replace("@", chr(0)))
sock.settimeout(20)
try:
    sock.sendall(b"x")
    print(sock.recv(1) or b"nothing")
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
async def test_nobody_else_may_connect() -> None:
    asked = 0

    async def never() -> socket.socket:
        nonlocal asked
        asked += 1
        raise AssertionError

    async with Relay(never) as relay:
        name = address(relay).replace("\0", "@")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STRANGER, name, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert told
        assert told.strip() != b"x"
        assert asked == 0


async def test_leaving_while_it_connects_leaves_nothing() -> None:
    async def never() -> socket.socket:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with Relay(never) as relay:
        _, writer = await opened(relay)
        await asyncio.sleep(0)
    await closed(writer)


@pytest.mark.parametrize("words", [b"PRI *", b""])
async def test_what_comes_before_the_container_is_reached_is_kept(
    monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    reached = asyncio.Event()
    real = relays._End
    read_all = real.eof_received

    def then_reach(end: relays._End) -> bool:
        reached.set()
        return read_all(end)

    monkeypatch.setattr(real, "eof_received", then_reach)
    monkeypatch.setattr(
        relays, "_End", lambda relay, *peer: real(relay, *peer) if peer else Impatient(real(relay))
    )
    async with serving(echo) as connect:

        async def later() -> socket.socket:
            await reached.wait()
            return await connect()

        async with Relay(later) as relay:
            reader, writer = await opened(relay)
            writer.write(words)
            writer.write_eof()
            assert await reader.read() == words
            writer.close()
            await writer.wait_closed()
