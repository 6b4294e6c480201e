"""Mutual TLS by files in the work directories."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.contracts.golem.conftest import Launch, Serve
from tests.contracts.golem.sample_app import Requestor

from lading.contracts.golem.clients import RequestorAppClient
from lading.contracts.golem.servers import RequestorServer
from lading.contracts.golem.tls import ClientTls, make_certificates
from lading.errors import FileInvalid, FileMissing, NotReady, NotSupported


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directories of an application and of its client."""
    server, client = tmp_path_factory.mktemp("app"), tmp_path_factory.mktemp("client")
    make_certificates(server, client)
    return server, client


def test_who_gets_what(certificates: tuple[Path, Path]) -> None:
    server, client = certificates
    assert {path.name for path in server.iterdir()} == {
        "task_api_server_key.pem",
        "task_api_server_cert.pem",
        "task_api_client_cert.pem",
    }
    assert {path.name for path in client.iterdir()} == {
        "task_api_client_key.pem",
        "task_api_client_cert.pem",
        "task_api_server_cert.pem",
    }
    for key in (server / "task_api_server_key.pem", client / "task_api_client_key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_both_sides_with_certificates(
    certificates: tuple[Path, Path], serve: Serve, tmp_path: Path
) -> None:
    server, client = certificates
    tls = await asyncio.to_thread(ClientTls.read, client)
    for address in ("127.0.0.1:0", f"unix:{tmp_path / 'app.sock'}"):
        target = await serve(RequestorServer(server, Requestor()), address)
        async with await RequestorAppClient.connect(target, tls=tls) as app:
            assert await app.run_benchmark() == 12.5


async def test_a_process_with_certificates(
    certificates: tuple[Path, Path], launch: Launch, free_port: int
) -> None:
    server, client = certificates
    process = await launch("requestor", str(free_port), work_dir=server)
    tls = await asyncio.to_thread(ClientTls.read, client, server)
    async with await RequestorAppClient.connect(f"127.0.0.1:{free_port}", tls=tls) as app:
        await app.shutdown()
    assert await process.wait() == 0


async def test_a_client_without_a_certificate_is_refused(
    certificates: tuple[Path, Path], serve: Serve
) -> None:
    server, client = certificates
    target = await serve(RequestorServer(server, Requestor()))
    with pytest.raises(NotReady):
        await RequestorAppClient.connect(target, wait=0.3)
    root = (await asyncio.to_thread(ClientTls.read, client)).server_certificate
    async with grpc.aio.secure_channel(
        target,
        grpc.ssl_channel_credentials(root),
        [("grpc.ssl_target_name_override", "localhost")],
    ) as channel:
        call: Any = channel.unary_unary("/golem_task_api.RequestorApp/RunBenchmark")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_strangers_are_refused_on_both_sides(
    certificates: tuple[Path, Path], serve: Serve, tmp_path: Path
) -> None:
    server, client = certificates
    await asyncio.to_thread(make_certificates, tmp_path, tmp_path)
    target = await serve(RequestorServer(server, Requestor()))
    with pytest.raises(NotReady):
        await RequestorAppClient.connect(
            target, tls=await asyncio.to_thread(ClientTls.read, tmp_path, server), wait=0.3
        )
    with pytest.raises(NotReady):
        await RequestorAppClient.connect(
            target, tls=await asyncio.to_thread(ClientTls.read, client, tmp_path), wait=0.3
        )


async def test_half_of_the_files_is_a_mistake(
    certificates: tuple[Path, Path], tmp_path: Path
) -> None:
    server, _ = certificates
    for name in ("task_api_server_key.pem", "task_api_server_cert.pem"):
        (tmp_path / name).write_bytes((server / name).read_bytes())
    with pytest.raises(FileMissing, match="task_api_client_cert") as caught:
        await RequestorServer(tmp_path, Requestor()).start("127.0.0.1:0")
    assert caught.value.fix
    with pytest.raises(FileMissing, match="task_api_client_key"):
        await asyncio.to_thread(ClientTls.read, tmp_path)


def test_a_client_needs_a_name(certificates: tuple[Path, Path], tmp_path: Path) -> None:
    _, client = certificates
    assert ClientTls.read(client).server_name == "localhost"
    server_cert = tmp_path / "task_api_server_cert.pem"
    server_cert.write_text("no certificate")
    with pytest.raises(FileInvalid, match="no certificate"):
        ClientTls.read(client, tmp_path)
    subprocess.run(
        f"openssl req -x509 -nodes -newkey rsa:2048 -subj /O=nobody -keyout key -out {server_cert}",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with pytest.raises(FileInvalid, match="names nobody"):
        ClientTls.read(client, tmp_path)


async def test_a_certificate_with_only_a_common_name(
    certificates: tuple[Path, Path], serve: Serve, tmp_path: Path
) -> None:
    """As old tools make them, without a word on authorities either."""
    server, client = certificates
    key, certificate = (tmp_path / f"task_api_server_{kind}.pem" for kind in ("key", "cert"))
    subprocess.run(
        f"openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=golem.app -keyout {key} "
        f"-out {certificate}",
        shell=True,
        check=True,
        capture_output=True,
    )
    (tmp_path / "task_api_client_cert.pem").write_bytes(
        (server / "task_api_client_cert.pem").read_bytes()
    )
    target = await serve(RequestorServer(tmp_path, Requestor()))
    tls = await asyncio.to_thread(ClientTls.read, client, tmp_path)
    assert tls.server_name == "golem.app"
    async with await RequestorAppClient.connect(target, tls=tls) as app:
        assert await app.run_benchmark() == 12.5


def test_a_key_is_not_shown(certificates: tuple[Path, Path]) -> None:
    assert "PRIVATE" not in repr(ClientTls.read(certificates[1]))


def test_without_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotSupported, match="openssl"):
        make_certificates(tmp_path, tmp_path)


def test_openssl_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "openssl"
    fake.write_text("#!/bin/sh\necho out of entropy >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(NotSupported, match="out of entropy"):
        make_certificates(tmp_path, tmp_path)
