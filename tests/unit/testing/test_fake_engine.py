"""What the fake can do beyond an engine: fail, take its time, count. The rest is in conformance."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Mapping

import pytest
from tests.support.containers import call, output, ready
from tests.support.fake_probe import NAME, probe_image

from lading.engine import ContainerSpec, Gpu, Limits, Network, NetworkSpec, PullStatus
from lading.errors import (
    EngineError,
    EngineUnreachable,
    ImageDenied,
    ImageNotFound,
    NotSupported,
)
from lading.testing import FakeEngine, FakeImage, FakeProcess, FakeRegistry, fake_engine


async def _idle(process: FakeProcess) -> int:
    await asyncio.Event().wait()
    return 0


def test_the_example_in_its_documentation() -> None:
    assert doctest.testmod(fake_engine).failed == 0
    assert doctest.testmod(fake_engine).attempted > 0


async def test_an_engine_that_goes_away_breaks_off_what_waits() -> None:
    engine = FakeEngine([FakeImage("idle", _idle)])
    container = await engine.create(ContainerSpec("idle"))
    await container.start()
    waiting = asyncio.create_task(container.wait())
    following = asyncio.create_task(output(container, follow=True))
    await container.inspect()
    engine.go_away()
    for task in (waiting, following):
        with pytest.raises(EngineUnreachable):
            await task
    for verb in (engine.info, container.start, container.inspect, container.remove):
        with pytest.raises(EngineUnreachable):
            await verb()
    engine.come_back()
    assert (await container.inspect()).pid
    await container.remove()


async def test_an_engine_that_takes_its_containers_along() -> None:
    engine = FakeEngine([FakeImage("idle", _idle)])
    container = await engine.create(ContainerSpec("idle"))
    await container.start()
    engine.go_away(kill_containers=True)
    engine.come_back()
    assert (await container.wait()).code == 137


async def test_told_to_fail_it_fails_that_often() -> None:
    engine = FakeEngine([FakeImage("idle", _idle)])
    container = await engine.create(ContainerSpec("idle"))
    engine.fail("start", EngineError("no space left on device"), times=2)
    for _ in range(2):
        with pytest.raises(EngineError, match="no space"):
            await container.start()
    await container.start()
    assert engine.calls["start"] == 3
    await container.remove()


async def test_a_start_that_takes_its_time_can_be_cancelled() -> None:
    engine = FakeEngine([FakeImage("idle", _idle)], start_seconds=3600)
    container = await engine.create(ContainerSpec("idle"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await container.start()
    assert (await container.inspect()).pid is None


async def test_a_second_client_outlives_the_first() -> None:
    first = FakeEngine([FakeImage("idle", _idle)])
    second = first.another()
    container = await first.create(ContainerSpec("idle", name="one"))
    await container.start()
    await first.close()
    with pytest.raises(EngineUnreachable):
        await container.inspect()
    await (await second.container("one")).remove()


async def test_pulling() -> None:
    denied = ImageDenied("secret:1", "authentication required", status=401)
    registry = FakeRegistry({"idle:2": FakeImage("x", _idle), "secret:1": denied})
    engine = FakeEngine(registry=registry)
    with pytest.raises(ImageNotFound):
        await engine.image("idle:2")
    seen: list[PullStatus] = []
    info = await engine.pull("idle:2", seen.append)
    assert info.tags == ("idle:2",)
    assert info.digests[0].startswith("idle@sha256:")
    assert {status.layer for status in seen} == {"", "layer0", "layer1"}
    assert (await engine.image(info.digests[0])).id == info.id
    with pytest.raises(ImageDenied):
        await engine.pull("secret:1")
    with pytest.raises(ImageNotFound):
        await engine.pull("other")
    assert registry.pulls == ["idle:2", "secret:1", "other"]


async def test_runtimes_and_gpus_are_kept() -> None:
    engine = FakeEngine([FakeImage("idle", _idle)], runtimes=("default", "vm"), gpu_driver=True)
    spec = ContainerSpec("idle", name="one", runtime="vm", gpus=Gpu(devices=("GPU-1",)))
    container = await engine.create(spec)
    await container.start()
    assert engine.spec_of("one").gpus == Gpu(devices=("GPU-1",))
    assert (await engine.info()).gpu_driver
    await container.remove()
    engine.gpu_driver = False
    container = await engine.create(spec)
    with pytest.raises(NotSupported):
        await container.start()


async def test_a_program_that_crashes_leaves_its_traceback() -> None:
    async def crash(process: FakeProcess) -> int:
        raise ValueError("out of luck")

    engine = FakeEngine([FakeImage("crash", crash)])
    container = await engine.create(ContainerSpec("crash"))
    await container.start()
    assert (await container.wait()).code == 1
    assert b"ValueError: out of luck" in (await output(container))[1]


async def test_a_program_that_will_not_be_cancelled_is_killed_all_the_same() -> None:
    async def stubborn(process: FakeProcess) -> int:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                process.write(b"never")
        return 0

    engine = FakeEngine([FakeImage("stubborn", stubborn)])
    container = await engine.create(ContainerSpec("stubborn"))
    await container.start()
    await container.kill()
    assert (await container.wait()).code == 137
    assert await output(container) == (b"", b"")


async def test_signals_can_be_handled() -> None:
    async def polite(process: FakeProcess) -> int:
        asked = asyncio.Event()
        process.on_signal("SIGTERM", asked.set)
        await asked.wait()
        process.write(" ".join(process.signals).encode())
        return 9

    engine = FakeEngine([FakeImage("polite", polite)])
    container = await engine.create(ContainerSpec("polite"))
    await container.start()
    await container.kill("SIGWINCH")
    await container.stop(grace=3600)
    assert (await container.wait()).code == 9
    assert await output(container) == (b"SIGWINCH SIGTERM", b"")


async def test_a_handler_can_end_the_process_and_use_up_its_memory() -> None:
    engine = FakeEngine([probe_image()])
    container = await engine.create(ContainerSpec(NAME, limits=Limits(memory=8 << 20)))
    await container.start()
    await ready(container)
    with pytest.raises(ConnectionError):
        await call(container, {"hog": 16 << 20})
    end = await container.wait()
    assert (end.code, end.out_of_memory) == (137, True)
    await container.start()
    await ready(container)
    with pytest.raises(ConnectionError):
        await call(container, {"exit": 3})
    assert (await container.wait()).code == 3


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (b"hello", (200, b"hello")),
        (b"", (200, b"")),
        ({"status": 500}, (500, b"status 500")),
        ({"sleep_ms": 1, "pid": True}, (200, b"1")),
        ({"big": 100_000}, (200, b"x" * 100_000)),
        ({"connect": "127.0.0.1:8080"}, (200, b"open")),
        ({"connect": "127.0.0.1:8081"}, (200, b"closed")),
    ],
)
async def test_the_fake_probe_answers_like_the_probe(
    order: object, expected: tuple[int, bytes]
) -> None:
    async with FakeEngine([probe_image()]) as engine:
        container = await engine.create(ContainerSpec(NAME, network=Network.NONE))
        await container.start()
        await ready(container)
        assert await call(container, order) == expected
        for broken in ({"close": True}, {"close_half": True}):
            with pytest.raises(ConnectionError):
                await call(container, broken)
        await container.remove()


async def test_names_lead_to_containers_of_the_same_network_only() -> None:
    async with FakeEngine([probe_image()]) as engine:
        for name, isolated in (("open", False), ("closed", True)):
            await engine.create_network(NetworkSpec(name, isolated=isolated))
        specs = [
            ContainerSpec(NAME, name=f"{network}{number}", network=network)
            for network in ("open", "closed")
            for number in range(2)
        ]
        containers = [await engine.create(spec) for spec in specs]
        for container in containers:
            await container.start()
        first, _, third, _ = containers
        assert await call(first, {"connect": "open1:8080"}) == (200, b"open")
        assert await call(first, {"connect": "closed0:8080"}) == (200, b"closed")
        assert await call(third, {"connect": "closed1:8080"}) == (200, b"closed")
        for container in containers:
            await container.remove()


async def test_without_a_builder_it_says_so() -> None:
    def build(files: Mapping[str, bytes], args: Mapping[str, str]) -> FakeImage:
        return FakeImage("x", _idle, labels={"from": files["Dockerfile"].decode()})

    from tests.conformance.conftest import context  # noqa: PLC0415

    archive = context({"Dockerfile": "FROM nothing"})
    with pytest.raises(EngineError, match="builder"):
        await FakeEngine().build(archive, "built:1")
    info = await FakeEngine(builder=build).build(archive, "built:1", labels={"a": "b"})
    assert info.labels == {"from": "FROM nothing", "a": "b"}
