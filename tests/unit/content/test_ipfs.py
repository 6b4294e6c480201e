"""Nodes that hang, lie, break off or are none; tests/content has a real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lading.content.adding import add_path
from lading.content.cid import Cid
from lading.content.fetching import fetch
from lading.content.ipfs import Node
from lading.errors import (
    ConfigError,
    ContentError,
    ContentNotFound,
    ContentRefused,
    InputError,
    LadingError,
    NodeUnreachable,
)

BLOCK = b"what is in it"
CID = Cid.of(BLOCK)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(
    body: bytes, status: str = "200 OK", trailer: str = "", seen: list[str] | None = None
) -> Handler:
    """Reads a request to its end and answers so."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "chunked" in head:
            while (size := int(await reader.readline(), 16)) > 0:
                await reader.readexactly(size + 2)
            await reader.readline()
        if seen is not None:
            seen.append(head)
        writer.write(f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        if body:
            writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        writer.write(f"0\r\n{trailer}\r\n".encode())
        await writer.drain()

    return handler


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def closing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
    await writer.drain()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "task").mkdir()
    (tmp_path / "task/file").write_bytes(BLOCK)
    return tmp_path / "task"


async def test_a_node_that_hangs(task: Path, tmp_path: Path) -> None:
    async with served(silent) as api, Node(api, timeout=0.1) as node:
        with pytest.raises(NodeUnreachable, match="was silent for 100 ms"):
            await node.version()
        with pytest.raises(NodeUnreachable, match="was silent for 100 ms"):
            await node.add(task)
        with pytest.raises(ContentNotFound, match="gave nothing in 100 ms"):
            await node.block(CID)
        with pytest.raises(ContentNotFound):
            await fetch(node, CID, tmp_path / "into", limit=100, timeout=5)
    assert not (tmp_path / "into").exists()


async def test_a_node_that_hangs_while_it_takes_a_large_file(tmp_path: Path) -> None:
    """It reads nothing, so sending stops long before the file's end."""
    (tmp_path / "large").write_bytes(bytes(30 << 20))

    async def full(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    sent: list[tuple[int, int]] = []
    async with served(full) as api, Node(api, timeout=0.5) as node:
        with pytest.raises(NodeUnreachable, match="was silent for 500 ms"):
            await node.add(tmp_path / "large", progress=lambda *now: sent.append(now))
    assert sent
    assert sent[-1][0] < 30 << 20
    assert sent[-1][1] == 30 << 20


async def test_a_node_that_is_slow_and_alive(task: Path, tmp_path: Path) -> None:
    """The time-out is on silence, not on the whole."""
    path = tmp_path / "three"
    path.write_bytes(bytes(3))
    cid = (await asyncio.to_thread(add_path, path)).cid

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"--\r\n\r\n0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for byte in json.dumps({"Name": "root", "Hash": str(cid)}).encode():
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with served(slow) as api, Node(api, timeout=0.4) as node:
        assert (await node.add(path)).cid == cid


async def test_nobody_there(task: Path) -> None:
    async with Node("http://127.0.0.1:1") as node:
        for call in (node.version(), node.block(CID), node.add(task)):
            with pytest.raises(NodeUnreachable, match=r"no IPFS node at http://127.0.0.1:1: "):
                await call


@pytest.mark.parametrize("handler", [closing, half])
async def test_a_node_that_goes_away(handler: Handler, task: Path) -> None:
    async with served(handler) as api, Node(api, timeout=5) as node:
        for call in (node.version(), node.block(CID), node.add(task)):
            with pytest.raises(NodeUnreachable, match="closed"):
                await call


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("404 Not Found", b"404 page not found"),
        ("403 Forbidden", b"403 - Forbidden"),
        ("405 Method Not Allowed", b"405 - Method Not Allowed"),
        ("200 OK", b"<html>hello</html>"),
    ],
)
async def test_what_is_no_node(status: str, body: bytes, task: Path) -> None:
    async with served(answering(body, status)) as api, Node(api, timeout=5) as node:
        with pytest.raises(NodeUnreachable, match="is not the RPC interface") as raised:
            await node.version()
        assert body.decode() in raised.value.message
        with pytest.raises(LadingError):
            await node.add(task)
        with pytest.raises((NodeUnreachable, ContentRefused)):
            await node.block(CID)


async def test_a_wrong_block_and_a_missing_one() -> None:
    async with served(answering(b"x" + BLOCK)) as api, Node(api) as node:
        with pytest.raises(ContentRefused, match=f"{CID} is refused: the 14 bytes"):
            await node.block(CID)
    async with served(answering(bytes(3 << 20))) as api, Node(api) as node:
        with pytest.raises(ContentNotFound, match="gave more than 2097152 bytes"):
            await node.block(CID)
    said = b'{"Message":"block was not found locally (offline): ipld: could not find it"}'
    async with (
        served(answering(said, "500 Internal Server Error")) as api,
        Node(api) as node,
    ):
        with pytest.raises(ContentNotFound, match="could not find it"):
            await node.block(CID)
    async with served(answering(BLOCK)) as api, Node(api) as node:
        assert await node.block(CID) == BLOCK


async def test_a_node_that_makes_another_cid(task: Path) -> None:
    said = json.dumps({"Name": "root", "Hash": str(CID)}).encode()
    async with served(answering(said)) as api, Node(api) as node:
        with pytest.raises(ContentError, match=f"made {CID} of .* which is bafy"):
            await node.add(task)


@pytest.mark.parametrize(
    ("body", "trailer", "says"),
    [
        (b"", "", "nothing about what it was given"),
        (b'{"Name":"root/file","Hash":"bafy"}\n', "", "nothing about what"),
        (b'{"Message":"disk is full","Code":0,"Type":"error"}\n', "", "disk is full"),
        (b"", "x-stream-error: repo is locked\r\n", "repo is locked"),
        (b'{"Name":"root","Hash":"../../x"}\n', "", "made no CID"),
        (b"[]\nnull\n7\n", "", "nothing about what"),
        (b"not json\n", "", "no list of files"),
        (b"x" * 3_000_000, "", "no list of files"),
    ],
    ids=range(8),
)
async def test_what_add_may_answer(body: bytes, trailer: str, says: str, task: Path) -> None:
    async with served(answering(body, trailer=trailer)) as api, Node(api, timeout=5) as node:
        with pytest.raises(ContentError, match=says):
            await node.add(task)


async def test_every_option_is_sent(task: Path) -> None:
    seen: list[str] = []
    async with served(answering(b"", seen=seen)) as api:
        for address in (api.replace("//", "//me:s%40crtt@"), f"{api}/behind/a/proxy/"):
            async with Node(address) as node:
                assert "crtt" not in node.api
                with pytest.raises(ContentError):
                    await node.add(task)
    line, *headers = seen[0].split("\r\n")
    assert "authorization: Basic bWU6c0BjcnR0" in headers
    url = urlsplit(line.split()[1])
    assert url.path == "/api/v0/add"
    assert {name: value[0] for name, value in parse_qs(url.query).items()} == {
        "cid-version": "1", "hash": "sha2-256", "chunker": "size-262144", "raw-leaves": "true",
        "trickle": "false", "max-file-links": "174", "inline": "false", "cid-base": "base32",
        "wrap-with-directory": "false", "preserve-mode": "false", "preserve-mtime": "false",
        "only-hash": "false", "nocopy": "false", "fscache": "false", "pin": "true",
        "progress": "false", "stream-channels": "true",
    }  # fmt: skip
    assert seen[1].startswith("POST /behind/a/proxy/api/v0/add?")


async def test_a_file_that_changes_between_reading_and_sending(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(answering(b"")) as api, Node(api) as node:
        made_here = node._made_here

        async def then_gone(path: Path, *, hidden: bool) -> object:
            made = await made_here(path, hidden=hidden)
            await asyncio.to_thread((task / "file").unlink)
            await asyncio.to_thread((task / "sub").mkdir)
            await asyncio.to_thread((task / "sub/link").symlink_to, "/etc")
            return made

        monkeypatch.setattr(node, "_made_here", then_gone)
        with pytest.raises((InputError, ContentRefused), match="leads outside"):
            await node.add(task)


async def test_a_caller_that_leaves_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(64 << 20))
    async with served(silent) as api, Node(api) as node:
        task = asyncio.create_task(node.add(tmp_path / "large"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:5001", "http://127.0.0.1:5001"),
        ("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001"),
        ("/ip6/::1/tcp/5001\n", "http://[::1]:5001"),
        ("/dns4/node.example/tcp/443/https", "https://node.example:443"),
        ("node:5001", "http://node:5001"),
        ("https://node.example/rpc/", "https://node.example/rpc"),
    ],
)
async def test_addresses(address: str, url: str) -> None:
    assert Node(address).api == url


@pytest.mark.parametrize(
    "address", ["", "ftp://x", "http://", "http://x:0", "http://x:y", "/unix/x", "http://x?y=z"]
)
async def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a node"):
        Node(address)


async def test_a_node_that_answers_while_it_reads(tmp_path: Path) -> None:
    """With a line for each file, as they do: nobody waits for the other to go first."""
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    cid = (await asyncio.to_thread(add_path, tmp_path / "large")).cid

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        for number in range(100_000):
            writer.write(b'{"Name":"root/%d","Hash":"%b"}\n' % (number, str(cid).encode()))
            await writer.drain()  # waits until somebody reads it
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        writer.write(json.dumps({"Name": "root", "Hash": str(cid)}).encode())
        await writer.drain()

    async with served(talkative) as api, Node(api, timeout=5) as node:
        assert (await node.add(tmp_path / "large")).cid == cid
