"""Pushing to a real registry, and every way it goes wrong."""

from __future__ import annotations

import asyncio
import random
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import context
from tests.images.build import NAME, ensure_probe
from tests.support import engines
from tests.support.docker_registry import (
    DockerRegistry,
    docker_registry,
    engine_of_a_stranger,
    log_in,
)

from lading.content import registry as registries
from lading.engine import Engine, PullStatus
from lading.errors import ImageDenied, ImageNameInvalid, ImageNotFound, ImagePushFailed

REPOSITORY = "tests/probe"


@pytest.fixture
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[DockerRegistry]:
    async with docker_registry(**getattr(request, "param", {})) as serving:
        yield serving


@pytest.fixture(params=["docker", "podman"])
def host(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue(f"{request.param}_host")
    ensure_probe(address)
    return address


@pytest.fixture
async def engine(host: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with engine_of_a_stranger(host, tmp_path) as client:
        yield client


@pytest.fixture
def ref(registry: DockerRegistry, host: str) -> Iterator[str]:
    """A name in the registry, which the engine has no more after the test."""
    name = f"{registry.host}/{REPOSITORY}:1"
    yield name
    engines.call(host, "DELETE", f"/images/{name}?force=1")


async def test_pushed_with_progress(engine: Engine, registry: DockerRegistry, ref: str) -> None:
    seen: list[PullStatus] = []
    await engine.tag(NAME, ref)
    digest = await engine.push(ref, seen.append)
    told, manifest = await asyncio.to_thread(registry.manifest, REPOSITORY, "1")
    assert digest == told
    assert registry.tags(REPOSITORY) == ["1"]
    assert seen
    image = await engine.image(NAME)
    config = manifest["config"]
    assert isinstance(config, dict)
    assert config["digest"] == image.id
    # Back again, under the name that pins it.
    await engine.remove_image(ref)
    pinned = f"{registry.host}/{REPOSITORY}@{digest}"
    assert (await engine.pull(pinned)).id == image.id
    await engine.remove_image(pinned)


async def test_pushed_under_a_name_of_its_own(
    engine: Engine, registry: DockerRegistry, ref: str
) -> None:
    image = await engine.image(NAME)
    pushed = await registries.push(engine, image.id, ref)
    assert pushed.ref == ref
    assert pushed.pinned == f"{registry.host}/{REPOSITORY}@{pushed.digest}"
    assert (await engine.image(ref)).id == image.id


async def test_what_can_not_be_pushed(engine: Engine, registry: DockerRegistry) -> None:
    with pytest.raises(ImageNotFound, match="absent"):
        await engine.push(f"{registry.host}/tests/absent:1")
    with pytest.raises(ImageNameInvalid, match="digest"):
        await engine.push(f"{registry.host}/tests/absent@sha256:{'0' * 64}")
    with pytest.raises(ImageNameInvalid):
        await engine.push("Upper/Case")
    assert registry.tags("tests/absent") == []


@pytest.mark.parametrize("registry", [{"login": True}], indirect=True)
async def test_a_registry_that_wants_credentials(
    engine: Engine, registry: DockerRegistry, ref: str, tmp_path: Path
) -> None:
    seen: list[PullStatus] = []
    with pytest.raises(ImageDenied, match="may write there"):
        await registries.push(engine, NAME, ref, progress=seen.append)
    log_in(tmp_path, registry, "wrong")
    with pytest.raises(ImageDenied):
        await registries.push(engine, NAME, ref, progress=seen.append)
    assert not any("again in" in status.text for status in seen), "a refusal is not asked twice"
    log_in(tmp_path, registry)
    pushed = await registries.push(engine, NAME, ref)
    assert (await asyncio.to_thread(registry.manifest, REPOSITORY, "1"))[0] == pushed.digest


@pytest.mark.parametrize("registry", [{"read_only": True}], indirect=True)
async def test_a_registry_that_refuses(engine: Engine, registry: DockerRegistry, ref: str) -> None:
    seen: list[PullStatus] = []
    with pytest.raises(ImagePushFailed) as caught:
        await registries.push(engine, NAME, ref, progress=seen.append)
    assert not caught.value.passing
    assert caught.value.image == ref
    assert not any("again in" in status.text for status in seen)
    assert registry.tags(REPOSITORY) == []


async def test_nobody_there(engine: Engine, registry: DockerRegistry, ref: str) -> None:
    await registry.kill()
    seen: list[PullStatus] = []
    with pytest.raises(ImagePushFailed, match=r"refused.*tried 3 times") as caught:
        await registries.push(engine, NAME, ref, progress=seen.append, tries=3, pause=0.01)
    assert caught.value.passing
    assert sum("again in" in status.text for status in seen) == 2


async def test_a_registry_that_comes_back(
    engine: Engine, registry: DockerRegistry, ref: str
) -> None:
    await registry.kill()
    waiting = asyncio.Event()

    def tell(status: PullStatus) -> None:
        if "again in" in status.text:
            waiting.set()

    pushing = asyncio.create_task(
        registries.push(engine, NAME, ref, progress=tell, tries=20, pause=0.2)
    )
    await waiting.wait()
    await registry.start()
    pushed = await pushing
    assert (await asyncio.to_thread(registry.manifest, REPOSITORY, "1"))[0] == pushed.digest


async def _large(size: int) -> AsyncIterator[bytes]:
    """A context with a file that no compression makes smaller."""
    header = context({"Dockerfile": "FROM scratch\nCOPY noise /noise\n"})
    yield header[: -(-len(header.rstrip(b"\0")) // 512) * 512]
    item = tarfile.TarInfo("noise")
    item.size = size
    yield item.tobuf()
    noise = random.Random(size)  # the same each time: builders keep what they have built
    for _ in range(size >> 20):
        yield noise.randbytes(1 << 20)
    yield bytes(1024)


async def test_a_registry_that_dies_in_the_middle(engine: Engine, registry: DockerRegistry) -> None:
    ref = f"{registry.host}/tests/large:1"
    told_of_it = asyncio.Event()

    def tell(status: PullStatus) -> None:
        # Docker tries a layer again by itself, a few times, before it gives up.
        if "again in" in status.text or status.text.startswith("Retrying in"):
            told_of_it.set()

    image = await engine.build(_large(48 << 20), ref)
    try:
        pushing = asyncio.create_task(
            registries.push(engine, image.id, ref, progress=tell, tries=20, pause=0.2)
        )
        async with asyncio.timeout(60):
            while not registry.uploading("tests/large"):
                await asyncio.sleep(0.001)
            await registry.kill()
            assert registry.tags("tests/large") == [], "what is half there has no name"
            await told_of_it.wait()
        await registry.start()
        pushed = await pushing
        digest, manifest = await asyncio.to_thread(registry.manifest, "tests/large", "1")
        assert pushed.digest == digest
        layers = manifest["layers"]
        assert isinstance(layers, list)
        assert layers[0]["size"] >= 48 << 20
        await engine.remove_image(ref)
        back = await registries.pull(engine, pushed.pinned)
        assert back.id == image.id
        await engine.remove_image(pushed.pinned)
    finally:
        for name in (ref, image.id):
            await engine.remove_image(name)
