"""Room for provider containers: what one waits for, and what no machine has."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from lading.contracts.golem.driver.container import Circumstances
from lading.contracts.golem.driver.room import ProviderRoom
from lading.errors import NotSupported, TooLarge
from lading.host.capacity import Resources
from lading.testing import FakeEngine
from lading.units import GIB, MIB


async def machine() -> ProviderRoom:
    info = await FakeEngine().info()
    return ProviderRoom(dataclasses.replace(info, cpus=2, memory=10 * GIB, gpu_driver=False))


async def test_who_does_not_fit_waits_and_says_what_for() -> None:
    room = await machine()
    told: list[str] = []
    waits = asyncio.Event()

    def tell(text: str) -> None:
        told.append(text)
        waits.set()

    async def second() -> None:
        async with room.of(Resources(cpus=1.5), tell):
            pass

    async with room.of(Resources(cpus=1.5), pytest.fail):
        task = asyncio.create_task(second())
        await waits.wait()
        assert told[0].startswith("waits for 1.5 cores")
    await task
    assert told[-1] == ""


async def test_who_names_no_amount_shares_what_there_is() -> None:
    room = await machine()
    all_of_it = Resources(cpus=2.0, memory=9 * GIB)
    async with room.of(all_of_it, pytest.fail), room.of(Resources(), pytest.fail):
        pass


async def test_what_this_machine_never_has() -> None:
    room = await machine()
    with pytest.raises(TooLarge, match="the maximum on this host is 9"):
        async with room.of(Resources(memory=10 * GIB), pytest.fail):
            pass
    with pytest.raises(NotSupported, match="the application wants GPUs"):
        async with room.of(Resources(gpus=1), pytest.fail):
            pass


def test_a_provider_gets_at_least_what_its_application_asks_for() -> None:
    assert Circumstances().limits(500).memory is None
    assert Circumstances(memory=100 * MIB).limits(500).memory == 500 * MIB
    assert Circumstances(memory=900 * MIB).limits(500).memory == 900 * MIB
