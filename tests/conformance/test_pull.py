"""Pulling from a real registry, and every way it goes wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.images.build import _root_file_system, compile_probe
from tests.support import engines
from tests.support.private_dockerd import private_dockerd
from tests.support.registry import Registry

from lading.engine import ContainerSpec, Engine, Network, PullStatus
from lading.engine.discovery import open_engine
from lading.errors import ImageDenied, ImageNotFound, ImagePullFailed
from lading.settings import EngineOptions


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry(_root_file_system(compile_probe())).serving() as serving:
        yield serving


@pytest.fixture(params=["docker", "podman"])
async def engine(
    request: pytest.FixtureRequest, registry: Registry, tmp_path: Path
) -> AsyncIterator[Engine]:
    """An engine of the test's own: what it pulls is in nobody's way."""
    env = {"DOCKER_CONFIG": str(tmp_path), "PATH": os.environ["PATH"]}
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "docker":
            # It would try five times, for a minute.
            daemon = private_dockerd({"max-download-attempts": 1})
            host = (await stack.enter_async_context(daemon)).host
        else:
            host = await stack.enter_async_context(_private_podman(registry))
        yield await stack.enter_async_context(await open_engine(EngineOptions(host), env))


@contextlib.asynccontextmanager
async def _private_podman(registry: Registry) -> AsyncIterator[str]:
    """Podman with a store of its own, that may speak plain HTTP with this registry.

    The Docker Engine API has no word for that, and Podman, other than Docker, makes no exception
    for the loopback interface.
    """
    program = shutil.which("podman")
    if program is None:
        pytest.skip(engines.INSTALL["podman"])
    folder = Path(tempfile.mkdtemp(prefix="lading-p-", dir="/tmp"))
    registries = folder / "registries.conf"
    registries.write_text(
        f'[[registry]]\nlocation = "127.0.0.1:{registry.port}"\ninsecure = true\n'
    )
    containers = folder / "containers.conf"
    # As in tests.support.engines.
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]'
    containers.write_text(f'[containers]\n{limits}\n[engine]\nruntime = "runc"\n')
    host = f"unix://{folder}/podman.sock"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "--root", str(folder / "root"), "--runroot", str(folder / "run"),
            "system", "service", "--time=0", host,
            env={**os.environ, "CONTAINERS_REGISTRIES_CONF": str(registries),
                 "CONTAINERS_CONF": str(containers)},
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(engines.kind, host) is None:
                assert process.returncode is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)
        yield host
    finally:
        process.terminate()
        await process.wait()
        for mount in ("root/overlay", "root"):
            umount = await asyncio.create_subprocess_exec(
                "umount", "-l", str(folder / mount), stderr=asyncio.subprocess.DEVNULL
            )
            await umount.wait()
        await asyncio.to_thread(shutil.rmtree, folder)


async def test_pulled_with_progress(engine: Engine, registry: Registry) -> None:
    seen: list[PullStatus] = []
    info = await engine.pull(registry.ref, seen.append)
    assert registry.ref in info.tags
    assert info.digests == (f"127.0.0.1:{registry.port}/{registry.name}@{registry.digest}",)
    assert info.id == registry.config_digest
    assert info.entrypoint == ("/probe",)
    assert seen
    assert (await engine.image(registry.ref)).id == info.id


async def test_pulled_by_digest(engine: Engine, registry: Registry) -> None:
    by_digest = f"127.0.0.1:{registry.port}/{registry.name}@{registry.digest}"
    info = await engine.pull(by_digest)
    assert info.digests == (by_digest,)
    assert (await engine.image(by_digest)).id == registry.config_digest
    container = await engine.create(
        ContainerSpec(by_digest, args=("exit", "3"), network=Network.NONE)
    )
    try:
        await container.start()
        assert (await container.wait()).code == 3
    finally:
        await container.remove()


async def test_unknown_tag_and_unknown_repository(engine: Engine, registry: Registry) -> None:
    with pytest.raises(ImageNotFound, match="manifest unknown"):
        await engine.pull(f"127.0.0.1:{registry.port}/{registry.name}:2")
    with pytest.raises(ImageNotFound):
        await engine.pull(f"127.0.0.1:{registry.port}/test/other:1")


async def test_credentials_of_the_user(engine: Engine, registry: Registry, tmp_path: Path) -> None:
    registry.login = ("me", "s3cret:with:colons")
    with pytest.raises(ImageDenied, match="log in"):
        await engine.pull(registry.ref)
    _log_in(tmp_path, registry, "me", "wrong")
    with pytest.raises(ImageDenied):
        await engine.pull(registry.ref)
    _log_in(tmp_path, registry, *registry.login)
    assert (await engine.pull(registry.ref)).id == registry.config_digest


async def test_credentials_for_a_build(engine: Engine, registry: Registry, tmp_path: Path) -> None:
    registry.login = ("me", "secret")
    _log_in(tmp_path, registry, *registry.login)
    context = _tar(f"FROM {registry.ref}\nLABEL a=b\n".encode())
    info = await engine.build(context, "test/built:1")
    assert info.labels["a"] == "b"


def _tar(dockerfile: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile))
    return buffer.getvalue()


@pytest.mark.parametrize("fault", [{"manifests": 500}, {"blobs": 500}, {"v2": 503}])
async def test_a_broken_registry(engine: Engine, registry: Registry, fault: dict[str, int]) -> None:
    registry.fail = fault
    with pytest.raises(ImagePullFailed):
        await engine.pull(registry.ref)


async def test_a_blob_that_ends_in_the_middle(engine: Engine, registry: Registry) -> None:
    registry.truncate = True
    with pytest.raises(ImagePullFailed):
        await engine.pull(registry.ref)
    registry.truncate = False
    assert (await engine.pull(registry.ref)).id == registry.config_digest


async def test_a_forbidden_image(engine: Engine, registry: Registry) -> None:
    registry.fail = {"manifests": 403}
    with pytest.raises(ImageDenied):
        await engine.pull(registry.ref)


async def test_nobody_there(engine: Engine) -> None:
    with pytest.raises(ImagePullFailed, match="refused"):
        await engine.pull("127.0.0.1:1/test/probe:1")


async def test_cancelled_in_the_middle(engine: Engine, registry: Registry) -> None:
    registry.gate.clear()
    pulling = asyncio.create_task(engine.pull(registry.ref))
    async with asyncio.timeout(60):
        await registry.waiting.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    registry.gate.set()
    # The engine has neither half an image nor a lock on it.
    assert (await engine.pull(registry.ref)).id == registry.config_digest


def _log_in(folder: Path, registry: Registry, user: str, password: str) -> None:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    config = {"auths": {f"127.0.0.1:{registry.port}": {"auth": auth}}}
    (folder / "config.json").write_text(json.dumps(config))
