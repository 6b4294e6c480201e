"""Executors that end, or are killed, in the middle of a fetch or a build: nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.support.by_cid import ask, images, left, sleepers, until
from tests.support.staged_node import StagedNode


@pytest.fixture
def folder(cid_folder: Path) -> Path:
    """A task folder that no other test has."""
    return cid_folder


@pytest.mark.parametrize("during", ["fetch", "build"])
async def test_nothing_is_left_of_what_a_killed_executor_had_begun(
    start: Start, folder: Path, probe: str, node: StagedNode, during: str, engine_host: str
) -> None:
    if during == "build":
        (folder / "Dockerfile").write_text(f'FROM {probe}\nRUN ["/probe", "sleep", "600"]\n')
    cid = await node.add(folder)
    executor = await start("--ipfs-api", node.api)
    if during == "fetch":
        node.gate.clear()
    asking = asyncio.create_task(ask(executor, cid))
    await node.waiting.wait() if during == "fetch" else await until(sleepers)
    assert left(executor)
    executor.process.send_signal(signal.SIGKILL)
    await executor.process.wait()
    with contextlib.suppress(Exception):
        await asking
    await until(lambda: not sleepers())
    assert left(executor), "nobody could have removed it yet"
    again = await start()
    assert left(again) == []
    assert [line for line in again.log if "which a process that died had fetched" in line]
    assert images(engine_host, cid) == []


async def test_a_caller_who_leaves_ends_the_build_that_nobody_else_waits_for(
    start: Start, folder: Path, probe: str, node: StagedNode
) -> None:
    (folder / "Dockerfile").write_text(f'FROM {probe}\nRUN ["/probe", "sleep", "600"]\n')
    cid = await node.add(folder)
    executor = await start("--ipfs-api", node.api)
    asking = asyncio.create_task(ask(executor, cid))
    await until(sleepers)
    asking.cancel()
    await until(lambda: not sleepers() and not left(executor))


async def test_a_build_does_not_hold_up_the_end(
    start: Start, folder: Path, probe: str, node: StagedNode
) -> None:
    (folder / "Dockerfile").write_text(f'FROM {probe}\nRUN ["/probe", "sleep", "600"]\n')
    executor = await start("--ipfs-api", node.api, "--drain", "1")
    asking = asyncio.create_task(ask(executor, await node.add(folder)))
    await until(sleepers)
    assert await executor.end() in (0, 143, -signal.SIGTERM)
    answer = await asking
    assert (answer.status, answer.json()["title"]) == (503, "NotAccepting")
    assert left(executor) == []
    await until(lambda: not sleepers())


async def test_a_build_that_takes_too_long(
    start: Start, folder: Path, probe: str, node: StagedNode
) -> None:
    (folder / "Dockerfile").write_text(f'FROM {probe}\nRUN ["/probe", "sleep", "600"]\n')
    executor = await start("--ipfs-api", node.api, "--build-timeout", "3")
    answer = await ask(executor, await node.add(folder))
    assert (answer.status, answer.json()["title"]) == (504, "TimedOut")
    await until(lambda: not sleepers())
    assert left(executor) == []
