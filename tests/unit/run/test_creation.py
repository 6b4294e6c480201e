"""Containers that are made and removed: what staging takes a fake engine for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lading.engine import ContainerSpec
from lading.errors import EngineUnreachable
from lading.run.creation import RUN_LABEL, create, remove
from lading.run.lifecycle import Running, start
from lading.testing import FakeEngine, FakeImage, FakeProcess


async def idle(process: FakeProcess) -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine([FakeImage("idle:1", idle)]) as engine:
        yield engine
        for info in await engine.containers({}):
            await (await engine.container(info.id)).remove()


@pytest.mark.parametrize("run_id", ["mine", "others"])
async def test_an_order_without_an_answer_takes_nobody_elses_container(
    engine: FakeEngine, run_id: str
) -> None:
    """The name may be taken by somebody else; what we made ourselves is known by its label."""
    await engine.create(ContainerSpec("idle:1", name="task", labels={RUN_LABEL: run_id}))
    engine.fail("create", EngineUnreachable("the connection broke"))
    with pytest.raises(EngineUnreachable):
        await create(engine, ContainerSpec("idle:1", name="task"), "mine")
    left = [info.labels[RUN_LABEL] for info in await engine.containers({})]
    assert left == ([] if run_id == "mine" else ["others"])


async def test_a_cancelled_removal_removes(engine: FakeEngine) -> None:
    container = await engine.create(ContainerSpec("idle:1"))
    engine.remove_seconds = 0.01
    removing = asyncio.create_task(remove(container))
    while not engine.calls["remove"]:
        await asyncio.sleep(0)
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    assert await engine.containers({}) == []


async def test_what_we_end_ourselves_is_not_told_as_an_end(engine: FakeEngine) -> None:
    told: list[Running] = []
    it = await start(engine, ContainerSpec("idle:1"))
    it.on_exit(told.append)
    await it.close()
    assert told == []
    it.on_exit(told.append)  # who asks afterwards is told that it is over
    assert told == [it]
