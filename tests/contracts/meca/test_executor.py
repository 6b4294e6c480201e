"""The executor on the fake engine: what a task is sent, and what a reconfiguration leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from lading import Executor, ExecutorOptions
from lading.contracts.meca.request import Request, TaskLimits
from lading.run.ownership import Owner
from lading.run.records import Records, records_path
from lading.testing import FakeEngine, FakeImage, FakeProcess
from lading.units import MIB

IMAGE = "test/mirror:1"


async def mirror(process: FakeProcess) -> int:
    """Answer with the request as it came."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request) + request)
        await writer.drain()

    await process.listen(8080, answer)
    process.write(b"meca-init-done\n")
    await asyncio.Event().wait()
    return 0


@contextlib.asynccontextmanager
async def executor(state: Path, options: ExecutorOptions) -> AsyncIterator[Executor]:
    engine = FakeEngine(images=[FakeImage(IMAGE, mirror, command=("mirror",), exposed=(8080,))])
    owner = await asyncio.to_thread(Owner.claim, state)
    records = await asyncio.to_thread(Records, records_path(state))
    try:
        async with Executor(engine, options, records=records, owner=owner) as made:
            yield made
    finally:
        await asyncio.to_thread(records.close)
        await asyncio.to_thread(owner.release)


async def test_what_a_task_is_sent(tmp_path: Path) -> None:
    request = Request(IMAGE, TaskLimits(0.1, 32 * MIB), micro_vm=False, body=b"hi")
    async with executor(tmp_path, ExecutorOptions()) as made:
        reply = await made.execute(request, "my-id-7")
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
