"""The executor on the fake engine: what a task is sent, and what a reconfiguration leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from lading import Executor, ExecutorOptions
from lading.contracts.meca.request import Request, TaskLimits
from lading.errors import ContainerLost
from lading.run.ownership import Owner
from lading.run.records import Records, records_path
from lading.testing import FakeEngine, FakeImage, FakeProcess
from lading.units import MIB

IMAGE = "test/mirror:1"
REPLY = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
REQUEST = Request(IMAGE, TaskLimits(0.1, 32 * MIB), micro_vm=False, body=b"hi")


Program = Callable[[FakeProcess], Awaitable[int]]


async def mirror(process: FakeProcess) -> int:
    """Answer with the request as it came."""
    return await serve(process)


async def serve(process: FakeProcess, *, connections: int = 10**6) -> int:
    """Do so on so many connections, and then go on without a door."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections -= 1
        if not connections:
            process.stop_listening(8080)
        request = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)
        writer.write(REPLY % len(request) + request)
        await writer.drain()

    await process.listen(8080, answer)
    process.write(b"meca-init-done\n")
    await asyncio.Event().wait()
    return 0


@contextlib.asynccontextmanager
async def executor(
    state: Path, options: ExecutorOptions, task: Program = mirror
) -> AsyncIterator[Executor]:
    engine = FakeEngine(images=[FakeImage(IMAGE, task, command=("task",), exposed=(8080,))])
    owner = await asyncio.to_thread(Owner.claim, state)
    records = await asyncio.to_thread(Records, records_path(state))
    try:
        async with Executor(engine, options, records=records, owner=owner) as made:
            yield made
    finally:
        await asyncio.to_thread(records.close)
        await asyncio.to_thread(owner.release)


async def test_what_a_task_is_sent(tmp_path: Path) -> None:
    async with executor(tmp_path, ExecutorOptions()) as made:
        reply = await made.execute(REQUEST, "my-id-7")
    first, *lines = reply.body.decode().split("\r\n")
    assert first == "POST / HTTP/1.1"
    assert lines[-1] == "hi"
    headers = dict(line.split(": ") for line in lines[:-2])
    assert headers["x-request-id"] == "my-id-7"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == "2"
    assert headers["host"] == "localhost:8080"


async def test_a_reconfiguration_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    before = ExecutorOptions(timeout=7, cpu=1, mem=512, microvm_runtime="kata")
    async with executor(tmp_path, before) as made:
        await made.pause()
        await made.update({"cpu": 0.5, "mem": 64})
        after = made.options
    assert (after.cpu, after.mem) == (0.5, 64)
    assert (after.timeout, after.microvm_runtime) == (7, "kata")


async def test_what_no_task_can_have_seen_is_sent_once_more(tmp_path: Path) -> None:
    async def serves_once(process: FakeProcess) -> int:
        return await serve(process, connections=2)  # the first asks whether it is ready

    async with executor(tmp_path, ExecutorOptions(), serves_once) as made:
        first = await made.execute(REQUEST, "1")
        second = await made.execute(REQUEST, "2")
    assert (first.cold, second.cold) == (True, True)
    assert first.container != second.container


async def test_but_only_once(tmp_path: Path) -> None:
    async def serves_never(process: FakeProcess) -> int:
        return await serve(process, connections=1)

    async with executor(tmp_path, ExecutorOptions(), serves_never) as made:
        with pytest.raises(ContainerLost, match=r"test/mirror:1 was gone .*, twice"):
            await made.execute(REQUEST, "1")
