from __future__ import annotations

import asyncio

import pytest
from tests.conformance.conftest import Make
from tests.support import engines
from tests.support.containers import call, output, ready

from lading.engine import Limits


async def test_memory_beyond_the_limit_is_told_as_such(make: Make) -> None:
    container = await make("hog", str(256 << 20), limits=Limits(memory=32 << 20))
    end = await container.wait()
    assert end.code == 137
    assert end.out_of_memory


async def test_memory_below_the_limit(make: Make) -> None:
    container = await make(limits=Limits(memory=64 << 20))
    await ready(container)
    assert await call(container, {"hog": 16 << 20}) == (200, b"ok")
    assert (await container.stats()).memory >= 16 << 20


async def test_the_limit_of_processes(make: Make) -> None:
    free = await make("fork", "30")
    bound = await make("fork", "30", limits=Limits(pids=10))
    await free.wait()
    await bound.wait()
    assert (await output(free))[0] == b"30\n"
    assert int((await output(bound))[0]) < 10


async def test_the_limit_of_processor_time(make: Make) -> None:
    """However slow this machine is, nobody gets more than the limit of the time that passed."""
    container = await make("spin", "60", limits=Limits(cpus=0.1))
    loop = asyncio.get_running_loop()
    first = await container.stats()
    began = loop.time()
    while (last := await container.stats()).cpu_seconds - first.cpu_seconds < 0.1:
        assert (await container.inspect()).exit is None
    # The kernel's periods are 0.1 s: a share of one may come early.
    assert last.cpu_seconds - first.cpu_seconds <= 0.1 * (loop.time() - began) + 0.1


async def test_limits_are_told(make: Make) -> None:
    limits = Limits(cpus=0.5, memory=48 << 20, pids=20)
    container = await make("sleep", "60", limits=limits)
    assert (await container.inspect()).limits == limits
    unlimited = await make("sleep", "60")
    assert (await unlimited.inspect()).limits.cpus is None
    assert (await unlimited.inspect()).limits.memory is None


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_swap_counts_as_memory(
    make: Make, engine_kind: str, request: pytest.FixtureRequest
) -> None:
    container = await make("sleep", "60", limits=Limits(memory=48 << 20))
    host = request.getfixturevalue(f"{engine_kind}_host")
    _, found = engines.call(host, "GET", f"/containers/{container.id}/json")
    assert found["HostConfig"]["MemorySwap"] == found["HostConfig"]["Memory"] == 48 << 20


async def test_stats_of_a_running_container_and_of_an_ended_one(make: Make) -> None:
    container = await make()
    await ready(container)
    stats = await container.stats()
    assert stats.memory > 0
    assert stats.memory_peak is None or stats.memory_peak >= stats.memory
    assert stats.cpu_seconds >= 0
    await container.kill()
    await container.wait()
    stats = await container.stats()
    assert (stats.memory, stats.cpu_seconds) == (0, 0)


async def test_sealed_has_no_capabilities(make: Make) -> None:
    container = await make("caps", sealed=True)
    await container.wait()
    lines = (await output(container))[0].split()
    assert lines == [b"CapEff:", b"0000000000000000", b"NoNewPrivs:", b"1"]


async def test_not_sealed_has_what_the_engine_gives(make: Make) -> None:
    container = await make("caps")
    await container.wait()
    assert b"CapEff:\t0000000000000000" not in (await output(container))[0]
