"""Images: looked up rarely, pulled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lading.engine import PullStatus
from lading.errors import ImageDenied, ImageNotFound, QueueFull
from lading.run.images import Images, pull_if_absent
from lading.testing import FakeEngine, FakeImage, FakeProcess, FakeRegistry


async def program(process: FakeProcess) -> None: ...


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    registry = FakeRegistry({"far:1": FakeImage("far:1", program)}, seconds=0.05)
    async with FakeEngine([FakeImage("here:1", program)], registry=registry) as engine:
        yield engine


async def test_what_is_here_is_not_pulled_and_asked_for_once(engine: FakeEngine) -> None:
    images = Images(engine, fresh=60)
    assert images.known("here:1") is None
    found = await images.have("here:1")
    assert await images.have("here:1") is found
    assert images.known("here:1") is found
    assert engine.calls["image"] == 1
    assert engine.calls["pull"] == 0


async def test_a_tag_that_moved_is_noticed(engine: FakeEngine) -> None:
    images = Images(engine, fresh=0)
    before = await images.have("here:1")
    engine.add_image(FakeImage("here:1", program, labels={"new": "yes"}))
    assert (await images.have("here:1")).id != before.id


async def test_one_pull_however_many_wait_and_all_hear_of_it(engine: FakeEngine) -> None:
    heard: list[list[PullStatus]] = [[] for _ in range(5)]
    found = await asyncio.gather(
        *(pull_if_absent(engine, "far:1", statuses.append) for statuses in heard)
    )
    assert len({image.id for image in found}) == 1
    assert engine.registry.pulls == ["far:1"]
    assert heard[0]
    assert all(statuses == heard[0] for statuses in heard)


async def test_a_cancelled_waiter_leaves_the_pull_to_the_others(engine: FakeEngine) -> None:
    images = Images(engine)
    first, second = (asyncio.create_task(images.have("far:1")) for _ in range(2))
    while not engine.calls["pull"]:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).tags
    assert first.cancelled()
    assert engine.calls["pull"] == 1


async def test_the_last_waiter_ends_the_pull(engine: FakeEngine) -> None:
    images = Images(engine)
    waiters = [asyncio.create_task(images.have("far:1")) for _ in range(2)]
    while not engine.calls["pull"]:
        await asyncio.sleep(0)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    with pytest.raises(ImageNotFound):
        await engine.image("far:1")
    assert (await images.have("far:1")).tags
    assert engine.calls["pull"] == 2


async def test_a_failure_is_everybodys_and_not_remembered(engine: FakeEngine) -> None:
    images = Images(engine)
    engine.registry.publish("secret:1", ImageDenied("secret:1", "credentials, please"))
    results = await asyncio.gather(
        *(images.have("secret:1") for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [ImageDenied] * 3
    engine.registry.publish("secret:1", FakeImage("secret:1", program))
    assert (await images.have("secret:1")).tags


async def test_no_more_wait_for_pulls_than_may(engine: FakeEngine) -> None:
    images = Images(engine, limit=2)
    results = await asyncio.gather(
        *(images.have("far:1") for _ in range(5)), images.have("here:1"), return_exceptions=True
    )
    assert [type(result) for result in results[2:5]] == [QueueFull] * 3
    assert not any(isinstance(result, Exception) for result in (*results[:2], results[5]))


async def test_few_are_pulled_at_once(engine: FakeEngine) -> None:
    refs = [f"far:{number}" for number in range(9)]
    for ref in refs:
        engine.registry.publish(ref, FakeImage(ref, program))
    images = Images(engine)
    tasks = [asyncio.create_task(images.have(ref)) for ref in refs]
    while len(engine.registry.pulls) < 4:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(engine.registry.pulls) == 4
    await asyncio.gather(*tasks)
    assert len(engine.registry.pulls) == 9
