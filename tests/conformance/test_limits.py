from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.conformance.conftest import Make
from tests.conformance.differences import Unlike
from tests.support import cluster, engines
from tests.support.containers import call, output, ready

from lading.engine import Engine, Limits, Mount
from lading.errors import EngineError


async def test_memory_beyond_the_limit_is_told_as_such(make: Make) -> None:
    container = await make("hog", str(256 << 20), limits=Limits(memory=32 << 20))
    end = await container.wait()
    assert end.code == 137
    assert end.out_of_memory


async def test_more_are_killed_for_memory_than_the_kernel_explains(
    make: Make, engine_kind: str
) -> None:
    """Of ten in five seconds it names the group, of the others only the victims."""

    async def one() -> None:
        container = await make("hog", str(64 << 20), limits=Limits(memory=8 << 20))
        end = await container.wait()
        assert end.code == 137
        await container.remove()
        if engine_kind == "kubernetes" and not end.out_of_memory:
            pytest.skip("this cluster's container runtime does not tell of every such kill")
        assert end.out_of_memory

    for _ in range(1 if engine_kind == "fake" else 4):
        await asyncio.gather(*(one() for _ in range(4)))


async def test_memory_below_the_limit(make: Make, unlike: Unlike) -> None:
    container = await make(limits=Limits(memory=64 << 20))
    await ready(container)
    assert await call(container, {"hog": 16 << 20}) == (200, b"ok")
    while (await container.stats()).memory < 16 << 20:
        assert unlike("told late")


async def test_the_limit_of_processes(make: Make, engine: Engine, unlike: Unlike) -> None:
    if unlike("no limit of processes"):
        assert any("processes" in warning for warning in (await engine.info()).warnings)
        return
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


async def test_limits_are_told(make: Make, unlike: Unlike) -> None:
    pids = None if unlike("no limit of processes") else 20
    limits = Limits(cpus=0.5, memory=48 << 20, pids=pids)
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


REQUESTS = [
    (Limits(cpus=0.25, memory=24 << 20), Limits(cpus=0.5, memory=48 << 20), 256, 24 << 20),
    (Limits(cpus=0.25, memory=24 << 20), Limits(), 256, 24 << 20),
    (Limits(cpus=0.0001), Limits(), 2, 0),
]


@pytest.mark.parametrize(("requests", "limits", "shares", "reserved"), REQUESTS)
async def test_requests(
    make: Make,
    engine_kind: str,
    requests: Limits,
    limits: Limits,
    shares: int,
    reserved: int,
    request: pytest.FixtureRequest,
) -> None:
    container = await make("sleep", "60", requests=requests, limits=limits)
    told = (await container.inspect()).limits
    assert (told.cpus, told.memory) == (limits.cpus, limits.memory)
    if engine_kind == "fake":
        return
    host = request.getfixturevalue(f"{engine_kind}_host")
    if engine_kind == "kubernetes":
        asked = cluster.pod(host, container.name)["spec"]["containers"][0]["resources"]["requests"]
        assert asked["cpu"] == f"{max(shares * 1000 // 1024, 1)}m"
        assert asked.get("memory", "0") == str(reserved)
        return
    _, found = engines.call(host, "GET", f"/containers/{container.id}/json")
    assert found["HostConfig"]["CpuShares"] == shares
    assert found["HostConfig"]["MemoryReservation"] == reserved


async def test_a_request_smaller_than_any_program(make: Make) -> None:
    small = Limits(memory=1 << 20)
    for limits in (Limits(), Limits(memory=64 << 20)):
        container = await make("hog", str(8 << 20), requests=small, limits=limits)
        info = await container.inspect()
        assert (info.limits.memory, info.exit) == (limits.memory, None)


async def test_stats_of_a_running_container_and_of_an_ended_one(make: Make, unlike: Unlike) -> None:
    container = await make()
    await ready(container)
    stats = await container.stats()
    while not stats.memory:
        assert unlike("told late")
        stats = await container.stats()
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


CAPABILITIES = ("DAC_OVERRIDE", "CHOWN", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL")
"""What a root process needs to work with files of others."""


async def test_sealed_but_for_some_capabilities(make: Make) -> None:
    container = await make("caps", sealed=True, capabilities=CAPABILITIES)
    await container.wait()
    lines = (await output(container))[0].split()
    assert lines == [b"CapEff:", b"00000000000000fb", b"NoNewPrivs:", b"1"]


async def test_one_capability_more_than_the_engine_gives(make: Make) -> None:
    container = await make("caps", capabilities=("SYS_NICE",))
    await container.wait()
    effective = int((await output(container))[0].split()[1], 16)
    assert effective & 1 << 23
    assert effective & 1  # CHOWN, which engines give


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_a_sealed_root_process_writes_to_a_directory_of_another_user(
    make: Make, engine_kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    mounts = (Mount(str(folder), "/out", read_only=False),)
    able = await make("write", "/out/a", "x", sealed=True, mounts=mounts, capabilities=CAPABILITIES)
    assert (await able.wait()).code == 0
    assert (folder / "a").read_text() == "x"
    if engine_kind == "fake":
        return  # its programs are this process, which may write anywhere
    unable = await make("write", "/out/b", "x", sealed=True, mounts=mounts)
    assert (await unable.wait()).code == 70
    assert b"Permission denied" in b"".join(await output(unable))


async def test_a_capability_that_no_kernel_has(make: Make) -> None:
    with pytest.raises(EngineError, match="FLY"):
        await make("caps", capabilities=("FLY",))


async def test_not_sealed_has_what_the_engine_gives(make: Make) -> None:
    container = await make("caps")
    await container.wait()
    assert b"CapEff:\t0000000000000000" not in (await output(container))[0]
