"""Engines that go away, and engines elsewhere: real ones, of the test's own where needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.images.build import NAME, ensure_probe
from tests.support import engines
from tests.support.containers import call, ready
from tests.support.private_dockerd import private_dockerd

from lading.engine import ContainerSpec, Engine, Limits, Network, State
from lading.engine.discovery import open_engine
from lading.errors import ConfigError, EngineUnreachable, NotSupported
from lading.settings import EngineOptions

TASK = ContainerSpec(NAME, network=Network.NONE, ports=(8080,), sealed=True)


async def _opened(host: str, env: dict[str, str] | None = None) -> Engine:
    return await open_engine(EngineOptions(host), env)


async def test_an_engine_that_is_stopped_and_started_again() -> None:
    async with private_dockerd() as daemon:
        await asyncio.to_thread(ensure_probe, daemon.host)
        async with await _opened(daemon.host) as engine:
            container = await engine.create(TASK)
            await container.start()
            await ready(container)
            waiting = asyncio.create_task(container.wait())
            logs = container.logs(follow=True)
            assert (await anext(logs)).data == b"meca-init-done\n"
            assert await call(container, b"1") == (200, b"1")
            await daemon.stop()
            with pytest.raises(EngineUnreachable):
                await engine.containers({})
            # A stopping engine stops its containers: either is true, a lie isn't.
            with contextlib.suppress(EngineUnreachable):
                await waiting
            with contextlib.suppress(EngineUnreachable, StopAsyncIteration):
                await anext(logs)
            with pytest.raises((ConnectionError, EngineUnreachable)):
                await container.connect(8080)
            await daemon.start()
            # The same client, and the same handle.
            assert (await container.inspect()).state is State.EXITED
            await container.start()
            await ready(container)
            assert await call(container, b"2") == (200, b"2")
            await container.remove()
            assert await engine.containers({}) == []


@contextlib.asynccontextmanager
async def _by_tcp(
    host: str, through: list[asyncio.StreamWriter] | None = None
) -> AsyncIterator[str]:
    """Pass connections to a TCP port on to the engine's socket."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = host.removeprefix("unix://")
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        if through is not None:
            through.append(writer)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
async def test_by_tcp_a_published_port_is_the_way(
    engine_host: str, test_labels: dict[str, str]
) -> None:
    ensure_probe(engine_host)
    async with _by_tcp(engine_host) as host, await _opened(host) as engine:
        assert not (await engine.info()).local
        container = await engine.create(ContainerSpec(NAME, ports=(8080,), labels=test_labels))
        try:
            await container.start()
            await ready(container)
            assert await call(container, b"hello") == (200, b"hello")
        finally:
            await container.remove()
        sealed = await engine.create(
            ContainerSpec(NAME, ports=(8080,), network=Network.NONE, labels=test_labels)
        )
        try:
            await sealed.start()
            with pytest.raises(NotSupported, match="can't be reached from here"):
                await sealed.connect(8080)
        finally:
            await sealed.remove()


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
async def test_a_connection_that_breaks_in_the_middle(
    engine_host: str, test_labels: dict[str, str]
) -> None:
    ensure_probe(engine_host)
    through: list[asyncio.StreamWriter] = []
    async with _by_tcp(engine_host, through) as host, await _opened(host) as engine:
        container = await engine.create(
            ContainerSpec(NAME, args=("serve",), network=Network.NONE, labels=test_labels)
        )
        try:
            await container.start()
            logs = container.logs(follow=True)
            await anext(logs)
            waiting = asyncio.create_task(container.wait())
            while len(through) < 3:  # one follows, one waits, one is kept
                await container.inspect()
            for writer in through:
                writer.transport.abort()
            with pytest.raises(EngineUnreachable, match=container.name):
                await waiting
            with pytest.raises(EngineUnreachable, match=container.name):
                await anext(logs)
            # The same client goes on with new connections.
            assert (await container.inspect()).state is State.RUNNING
        finally:
            await container.remove()


async def test_by_tls_with_certificates(tmp_path: Path) -> None:
    _certificates(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = f"tcp://127.0.0.1:{port}"
    flags = ("--tlsverify", f"--tlscacert={tmp_path}/ca.pem", f"--tlscert={tmp_path}/cert.pem")
    env = {"DOCKER_HOST": listen, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    async with private_dockerd(
        listen=listen, arguments=(*flags, f"--tlskey={tmp_path}/key.pem")
    ) as daemon:
        async with await open_engine(EngineOptions(), env) as engine:
            assert (await engine.info()).version
        with pytest.raises(EngineUnreachable):  # it wants a certificate of ours
            await _opened(listen, {"HOME": str(tmp_path)})
        with pytest.raises(ConfigError, match="certificates"):
            await open_engine(EngineOptions(), {**env, "DOCKER_CERT_PATH": f"{tmp_path}/none"})
        assert daemon.pid


def _certificates(folder: Path) -> None:
    """An authority, and one certificate for both sides."""
    (folder / "ext").write_text(
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout ca-key.pem -out ca.pem -days 2",
        "req -newkey rsa:2048 -nodes -subj /CN=engine -keyout key.pem -out cert.csr",
        (
            "x509 -req -in cert.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile ext"
            " -out cert.pem -days 2"
        ),
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
async def test_created_for_a_cancelled_caller_nothing_stays(
    engine_host: str, test_labels: dict[str, str]
) -> None:
    ensure_probe(engine_host)
    async with await _opened(engine_host) as engine:
        for turns in (1, 3, 10):
            making = asyncio.create_task(engine.create(ContainerSpec(NAME, labels=test_labels)))
            for _ in range(turns):
                await asyncio.sleep(0)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
            assert await engine.containers(test_labels) == []


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
async def test_a_child_killed_for_memory_is_told(
    engine_host: str, test_labels: dict[str, str]
) -> None:
    """The first process lives on and ends well: something was killed in it all the same."""
    ensure_probe(engine_host)
    async with await _opened(engine_host) as engine:
        limits = Limits(memory=32 << 20)
        container = await engine.create(
            ContainerSpec(NAME, network=Network.NONE, limits=limits, labels=test_labels)
        )
        try:
            await container.start()
            await ready(container)
            await asyncio.to_thread(_exec, engine_host, container.id, "hog", str(256 << 20))
            assert (await container.inspect()).state is State.RUNNING
            await container.stop()
            end = await container.wait()
            assert end.code != 137
            assert end.out_of_memory
        finally:
            await container.remove()


def _exec(host: str, container: str, *args: str) -> None:
    """Run the probe a second time inside, and wait until it has ended."""
    body = {"Cmd": ["/probe", *args], "AttachStdout": True, "AttachStderr": True}
    status, made = engines.call(host, "POST", f"/containers/{container}/exec", body)
    assert status == 201, json.dumps(made)
    status, _ = engines.call(host, "POST", f"/exec/{made['Id']}/start", {"Detach": False})
    assert status == 200


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
async def test_a_plain_kill_is_not_called_out_of_memory(
    engine_host: str, test_labels: dict[str, str]
) -> None:
    ensure_probe(engine_host)
    async with await _opened(engine_host) as engine:
        limits = Limits(memory=32 << 20)
        container = await engine.create(
            ContainerSpec(NAME, network=Network.NONE, limits=limits, labels=test_labels)
        )
        try:
            await container.start()
            await container.kill()
            end = await container.wait()
            assert (end.code, end.out_of_memory) == (137, False)
        finally:
            await container.remove()
