"""`lading run TASK --on URL`: a task on an executor elsewhere, and its refusals in our words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.support.command_line import Cli, Done, documented, failed


@pytest.fixture
def on(lading: Cli) -> Cli:
    """The command line, which has no engine here: all is done by the executor."""
    return replace(lading, engine="unix:///nowhere/engine.sock")


async def run(cli: Cli, *arguments: str | bytes, stdin: bytes = b"") -> Done:
    return await asyncio.to_thread(cli, "run", *arguments, stdin=stdin)


async def test_a_reply_comes_from_there(start: Start, probe: str, on: Cli) -> None:
    executor = await start()
    url = f"http://{executor.host}:{executor.port}"
    said = json.dumps({"name": "žluťoučký"})
    done = await run(on, probe, "--on", url, "--input", said)
    assert (done.returncode, done.stdout) == (0, said.encode()), done.stderr
    assert b"cold, by http://127.0.0.1:" in done.stderr
    again = await run(on, probe, "--on", f"{url}/", "-q", "-i", "-", stdin=b"from stdin")
    assert (again.stdout, again.stderr) == (b"from stdin", b"")
    shown = await asyncio.to_thread(
        on.json, "run", probe, "--on", url, "-i", "x", "-q", "--cpu", "0.1", "--memory", "48Mi"
    )
    assert (shown["reply"], shown["start"], shown["executor"]) == ("x", "cold", url)
    assert shown["container"].startswith("mecanywhere_lading-test-probe_1_")
    assert set(shown) == documented("run", "a task elsewhere") - {"reply_base64"}


async def test_limits_and_times_are_sent(start: Start, probe: str, on: Cli) -> None:
    executor = await start()
    url = f"http://{executor.host}:{executor.port}"
    hog = await run(on, probe, "--on", url, "--memory", "24Mi", "-i", '{"hog": 200000000}')
    failed(hog, 137, "out of memory", "limit 24 MiB")
    slow = await run(on, probe, "--on", url, "--timeout", "0.3", "-i", '{"sleep_ms": 60000}')
    failed(slow, 124)


async def test_refusals_keep_their_names_and_codes(start: Start, probe: str, on: Cli) -> None:
    executor = await start()
    url = f"http://{executor.host}:{executor.port}"
    failed(await run(on, probe, "--on", url, "-i", '{"status": 418}'), 70, "418", "status 418")
    failed(await run(on, probe, "--on", url, "-i", "x", "--cpu", "999"), 65, "999 cores")
    failed(await run(on, "UPPER:1", "--on", url, "-i", "x"), 65, "UPPER")
    failed(await run(on, probe, "--on", url, "-i", "x", "--gpus", "3"), 75, "GPU")
    await executor.ask("POST", "/pause")
    failed(await run(on, probe, "--on", url, "-i", "x"), 75, "paused or stopping")


async def test_a_token(start: Start, probe: str, on: Cli) -> None:
    executor = await start(env={"LADING_TOKEN": "correct-horse"})
    url = f"http://{executor.host}:{executor.port}"
    without = replace(on, more={"LADING_TOKEN": ""})
    failed(await run(without, probe, "--on", url, "-i", "x"), 77, "wants its token", "LADING_TOKEN")
    wrong = replace(on, more={"LADING_TOKEN": "wrong"})
    failed(await run(wrong, probe, "--on", url, "-i", "x"), 77)
    right = replace(on, more={"LADING_TOKEN": "correct-horse"})
    assert (await run(right, probe, "--on", url, "-i", "x")).stdout == b"x"
    strange = replace(on, more={"LADING_TOKEN": "with\nnewline"})
    failed(await run(strange, probe, "--on", url, "-i", "x"), 2, "LADING_TOKEN")


@contextlib.asynccontextmanager
async def stranger(reply: bytes) -> AsyncIterator[str]:
    """A server that answers every request so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_who_is_no_executor(on: Cli) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        failed(
            await run(on, "x", "--on", url, "-i", "x"), 69, "no executor can be asked", "refused"
        )
    for reply in (
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno!",
        b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n[]",
        b'HTTP/1.1 500 Oh\r\ncontent-length: 13\r\n\r\n{"detail": 3}',
    ):
        async with stranger(reply) as url:
            failed(await run(on, "x", "--on", url, "-i", "x"), 69, "is no Lading executor")
    for reply in (b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"):
        async with stranger(reply) as url:
            failed(await run(on, "x", "--on", url, "-i", "x"), 69, "no executor can be asked")
    evil = json.dumps({"title": "__init__", "detail": "a\x1b[31m"}).encode()
    async with stranger(
        b"HTTP/1.1 500 Oh\r\ncontent-length: %d\r\n\r\n%s" % (len(evil), evil)
    ) as url:
        done = await run(on, "x", "--on", url, "-i", "x")
        failed(done, 69)
        assert b"\x1b" not in done.stderr


async def test_what_cannot_be_sent(on: Cli, tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    for wrong in (
        "127.0.0.1:2591",
        "ftp://x",
        "http://",
        "http://x:y",
        "http://x/path",
        "http://a@b",
    ):
        failed(await run(on, "x", "--on", wrong, "-i", "x"), 2, "--on", "http://HOST:2591")
    failed(await run(on, "x", "--on", url, "-i", os.fsdecode(b"\xff")), 2, "not UTF-8 at byte 0")
    failed(await run(on, "x", "--on", url), 2, "--input")
    failed(await run(on, "x", "--on", url, "-i", "x", "--idempotency-key", "ž"), 2, "ASCII")
    for flag in ("--keep", "--no-network", "--capabilities", "--tag=x", "--pull=never"):
        failed(await run(on, "x", "--on", url, "-i", "x", flag), 2, flag.partition("=")[0][-6:])
    failed(await run(on, "x", "--on", url, "-i", "x", "--runtime", "runsc"), 2, "microVM")
    failed(await run(on, "x", "-i", "x", "--receipt", str(tmp_path / "r")), 2, "--receipt")
    failed(await run(on, "x", "-i", "x", "--car", "c.car"), 2, "--car")
    failed(await run(on, "task.json", "--on", url), 2, "--on", "processing-containers")
