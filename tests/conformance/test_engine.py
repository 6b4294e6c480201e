from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.conformance.conftest import Make, OpenClient
from tests.support import cgroups
from tests.support.private_dockerd import private_dockerd

from lading.engine import Engine
from lading.engine.discovery import open_engine
from lading.errors import ContainerNotFound, EngineError
from lading.settings import EngineOptions


async def test_info_says_what_the_engine_is(engine: Engine, engine_kind: str) -> None:
    info = await engine.info()
    assert info.kind == engine_kind
    assert info.version
    assert info.api_version
    assert info.default_runtime in (info.runtimes or ("",))
    assert info.cpus >= 1
    assert info.memory > 64 << 20
    assert not info.gpu_driver


async def test_a_control_group_is_chosen(
    engine: Engine, engine_kind: str, make: Make, test_id: str
) -> None:
    driver = (await engine.info()).cgroup_driver
    assert driver in ("cgroupfs", "systemd", "")
    if engine_kind == "fake":
        assert driver == ""  # its programs are in no group of their own
    elif driver != "cgroupfs":
        pytest.skip(f"the engine lets nobody choose: {driver or 'not of this machine'}")
    group = f"/lading/{test_id}"
    try:
        container = await make("sleep", "60", group=group)
        pid = (await container.inspect()).pid
        assert pid
        if engine_kind != "fake":
            groups = await asyncio.to_thread(cgroups.groups_of, pid)
            assert {found.startswith(f"{group}/") for found in groups} == {True}
            assert all(container.id in found for found in groups)
        await container.remove()
        for folder in await asyncio.to_thread(cgroups.named, group):
            assert [path for path in folder.iterdir() if path.is_dir()] == []
    finally:
        await asyncio.to_thread(cgroups.remove, group)


@pytest.mark.parametrize(
    "given",
    [{"arguments": ("--cgroup-parent=/bounded",)}, {"config": {"cgroup-parent": "/bounded"}}],
)
async def test_an_operator_who_chose_the_group_is_not_overruled(
    given: dict[str, Any], docker_host: str
) -> None:
    """Docker's `--cgroup-parent` may bound all containers together: nobody gets around it."""
    del docker_host  # only where there is a Docker
    async with (
        private_dockerd(**given) as daemon,
        await open_engine(EngineOptions(engine=daemon.host)) as engine,
    ):
        assert (await engine.info()).cgroup_driver == ""


async def test_calls_at_once_do_not_mix(engine: Engine, make: Make) -> None:
    containers = [await make("exit", str(code), start=False) for code in (3, 4, 5)]
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(container.wait()) for container in containers]
        for container in containers:
            group.create_task(container.start())
    assert [task.result().code for task in waits] == [3, 4, 5]


async def test_two_clients_see_the_same_engine(open_client: OpenClient, make: Make) -> None:
    container = await make("sleep", "60")
    async with await open_client() as second:
        seen = await second.container(container.id)
        assert (await seen.inspect()).name == container.name
        await seen.remove()
    with pytest.raises(ContainerNotFound):
        await container.inspect()


async def test_after_close_every_call_is_refused(open_client: OpenClient) -> None:
    client = await open_client()
    await client.info()
    await client.close()
    await client.close()
    with pytest.raises(EngineError):
        await client.info()
    with pytest.raises(EngineError):
        await client.containers({})


async def test_unknown_container(engine: Engine, test_id: str) -> None:
    with pytest.raises(ContainerNotFound, match=test_id):
        await engine.container(f"lading-{test_id}")
