"""Which of Docker's builders builds, and where it gets base images that are not here.

Podman has one builder; that it takes credentials is in `test_pull.py`.
"""

from __future__ import annotations

import asyncio
import os
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
from tests.support.private_dockerd import private_dockerd

from lading.engine import Engine, PullStatus
from lading.engine.discovery import open_engine
from lading.errors import BuildFailed
from lading.settings import EngineOptions


@pytest.fixture
async def registry() -> AsyncIterator[DockerRegistry]:
    async with docker_registry(login=True) as serving:
        yield serving


@pytest.fixture
def host(docker_host: str) -> str:
    ensure_probe(docker_host)
    return docker_host


@pytest.fixture
async def engine(host: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with engine_of_a_stranger(host, tmp_path) as client:
        yield client


@pytest.fixture
def tag(host: str, test_id: str) -> Iterator[str]:
    name = f"lading-test/built-{test_id}:1"
    yield name
    engines.call(host, "DELETE", f"/images/{name}?force=1")


@pytest.fixture
async def base(
    engine: Engine, registry: DockerRegistry, host: str, tmp_path: Path
) -> AsyncIterator[str]:
    """A base image that only the registry has, for those who may read it."""
    name = f"{registry.host}/tests/base:1"
    log_in(tmp_path, registry)
    await engine.tag(NAME, name)
    await engine.push(name)
    await engine.remove_image(name)
    (tmp_path / "config.json").unlink()
    yield name
    await asyncio.to_thread(engines.call, host, "DELETE", f"/images/{name}?force=1")


async def test_a_base_image_that_wants_credentials(
    engine: Engine, base: str, tag: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    archive = context({"Dockerfile": f"FROM {base}\nLABEL based=yes\n"})
    with pytest.raises(BuildFailed, match=r"(?s)unauthorized|no basic auth") as caught:
        await engine.build(archive, tag)
    assert base in caught.value.message
    log_in(tmp_path, registry)
    seen: list[PullStatus] = []
    assert (await engine.build(archive, tag, progress=seen.append)).labels["based"] == "yes"
    texts = [status.text for status in seen]
    # Pulled by the engine, and still built by BuildKit.
    assert f"pulling base image {base}" in texts
    assert not any(text.startswith("Step 1/") for text in texts)


async def test_a_base_image_for_another_platform(
    engine: Engine, base: str, tag: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    """What BuildKit does not take for the one it wants, although it is here."""
    log_in(tmp_path, registry)
    archive = context({"Dockerfile": f"FROM {base}\nLABEL based=yes\n"})
    seen: list[PullStatus] = []
    info = await engine.build(archive, tag, platform="linux/arm64", progress=seen.append)
    assert info.labels["based"] == "yes"
    assert any("classic builder" in status.text for status in seen)
    assert any(status.text.startswith("Step 1/") for status in seen)


async def test_a_context_that_can_be_read_once(
    engine: Engine, base: str, tag: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    log_in(tmp_path, registry)
    archive = context({"Dockerfile": f"FROM {base}\nLABEL based=yes\n"})

    async def once() -> AsyncIterator[bytes]:
        yield archive

    with pytest.raises(BuildFailed) as caught:
        await engine.build(once(), tag)
    assert caught.value.fix == "pull its base images first"
    await engine.pull(base)
    assert (await engine.build(once(), tag)).labels["based"] == "yes"


def cached(host: str) -> dict[str, int]:
    """What the builder keeps, and how large each record is."""
    _, found = engines.call(host, "GET", "/v1.41/system/df")
    return {item["ID"]: item["Size"] for item in found["BuildCache"] or []}


@pytest.mark.parametrize("fails", [False, True])
async def test_a_large_context_does_not_stay_with_the_builder(
    engine: Engine, host: str, tag: str, fails: bool
) -> None:
    size = 70 << 20

    async def large() -> AsyncIterator[bytes]:
        run = '["/probe", "nonsense"]' if fails else '["/probe", "echo", "x"]'
        text = f"FROM {NAME}\nLABEL run={tag}\nCOPY small /small\nRUN {run}\n"
        yield context({"Dockerfile": text, "small": tag})[:2048]
        item = tarfile.TarInfo(f"large-{tag[-14:]}")
        item.size = size
        yield item.tobuf()
        for _ in range(70):
            yield bytes(1 << 20)
        yield bytes(1024)

    before = await asyncio.to_thread(cached, host)
    if fails:
        with pytest.raises(BuildFailed, match="nonsense"):
            await engine.build(large(), tag)
    else:
        await engine.build(large(), tag)
    after = await asyncio.to_thread(cached, host)
    new = [after[record] for record in after.keys() - before.keys()]
    assert new, "what steps made is kept"
    # Others build meanwhile: theirs have other sizes.
    assert not [taken for taken in new if size <= taken < size + (1 << 20)]


async def test_an_operator_who_wants_the_classic_builder(tmp_path: Path) -> None:
    env = {"DOCKER_CONFIG": str(tmp_path), "PATH": os.environ["PATH"]}
    async with private_dockerd({"features": {"buildkit": False}}) as daemon:
        ensure_probe(daemon.host)
        async with await open_engine(EngineOptions(daemon.host), env) as engine:
            seen: list[PullStatus] = []
            text = f"FROM {NAME}\nLABEL a=b\n"
            archive = context({"Dockerfile": text})
            info = await engine.build(archive, "test/built:1", progress=seen.append)
            assert info.labels["a"] == "b"
            assert any(status.text.startswith("Step 1/") for status in seen)
            text += 'RUN ["/probe", "echo", "before"]\nRUN ["/probe", "nonsense"]\n'
            with pytest.raises(BuildFailed) as caught:
                await engine.build(context({"Dockerfile": text}), "test/built:2")
            first, *last = caught.value.message.splitlines()
            assert '"nonsense"' in first
            assert first.endswith("failed: exit code 64; its last lines:")
            assert any(line.startswith("probe VERB:") for line in last)
            assert "before" not in last
