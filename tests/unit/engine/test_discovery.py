from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lading.engine.discovery import Candidate, candidates, open_engine, open_first
from lading.errors import ConfigError, EngineError, EngineTooOld, EngineUnreachable, NotSupported
from lading.settings import EngineOptions

AUTO = EngineOptions()


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: a Unix socket's may have 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="ld-") as folder:
        yield Path(folder)


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "PATH": os.environ["PATH"]}


@contextlib.asynccontextmanager
async def answering(path: Path, *, body: bytes = b"", **version: Any) -> AsyncIterator[str]:
    """Answers every call with the version of an engine: as much of one as discovery sees."""
    said = {"ApiVersion": "1.41", "Version": "20.10.24", "KernelVersion": "6.1", **version}
    body = body or json.dumps(said).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    async with await asyncio.start_unix_server(serve, str(path)):
        yield f"unix://{path}"
    path.unlink()


def _addresses(options: EngineOptions, env: dict[str, str]) -> list[str]:
    return [candidate.address for candidate in candidates(options, env)]


def test_the_usual_sockets_in_order(env: dict[str, str], home: Path) -> None:
    found = _addresses(AUTO, env)
    assert found[0] == "unix:///var/run/docker.sock"
    assert found[1] == f"unix://{home}/run/docker.sock"
    assert found[-2:] == [
        f"unix://{home}/run/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]
    docker, podman = (_addresses(EngineOptions(name), env) for name in ("docker", "podman"))
    assert docker + podman == found
    assert not any("podman" in address for address in docker)


def test_what_was_asked_for_is_the_only_one(env: dict[str, str]) -> None:
    env |= {"DOCKER_HOST": "tcp://10.0.0.1:2375", "CONTAINER_HOST": "unix:///p.sock"}
    assert _addresses(AUTO, env) == ["tcp://10.0.0.1:2375"]
    assert _addresses(EngineOptions("docker"), env) == ["tcp://10.0.0.1:2375"]
    assert _addresses(EngineOptions("podman"), env) == ["unix:///p.sock"]
    assert _addresses(EngineOptions("unix:///mine.sock"), env) == ["unix:///mine.sock"]
    del env["DOCKER_HOST"]
    assert _addresses(AUTO, env) == ["unix:///p.sock"]


def test_a_cluster_only_where_it_was_asked_for(env: dict[str, str]) -> None:
    env |= {"KUBECONFIG": "/nowhere", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert not any(address.startswith("kubernetes") for address in _addresses(AUTO, env))
    env |= {"DOCKER_HOST": "tcp://10.0.0.1:2375", "DOCKER_TLS_VERIFY": "1"}
    for name in ("kubernetes", "k8s"):
        assert _addresses(EngineOptions(name), env) == ["kubernetes://"]
    (there,) = candidates(EngineOptions("kubernetes://mine/jobs"), env)
    assert there == Candidate("kubernetes://mine/jobs", "--engine", True)


def test_tls_as_the_variables_say(env: dict[str, str], home: Path) -> None:
    env["DOCKER_HOST"] = "tcp://10.0.0.1:2376"
    assert candidates(AUTO, env)[0].tls is None
    env["DOCKER_CERT_PATH"] = str(home / "certs")
    tls = candidates(AUTO, env)[0].tls
    assert tls is not None
    assert (tls.folder, tls.verify) == (home / "certs", False)
    env["DOCKER_TLS_VERIFY"] = "1"
    tls = candidates(AUTO, env)[0].tls
    assert tls is not None
    assert tls.verify
    del env["DOCKER_CERT_PATH"]
    tls = candidates(AUTO, env)[0].tls
    assert tls is not None
    assert tls.folder == home / ".docker"


def _context(home: Path, name: str, host: str) -> None:
    key = hashlib.sha256(name.encode()).hexdigest()
    folder = home / ".docker/contexts/meta" / key
    folder.mkdir(parents=True)
    meta = {"Name": name, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(meta))


def test_docker_contexts(env: dict[str, str], home: Path) -> None:
    _context(home, "far", "tcp://far:2376")
    _context(home, "near", "unix:///near.sock")
    config = home / ".docker/config.json"
    config.write_text('{"currentContext": "far"}')
    assert _addresses(AUTO, env) == ["tcp://far:2376"]
    assert _addresses(EngineOptions("docker"), env) == ["tcp://far:2376"]
    assert _addresses(EngineOptions("podman"), env)[0] != "tcp://far:2376"
    assert _addresses(AUTO, {**env, "DOCKER_CONTEXT": "near"}) == ["unix:///near.sock"]
    assert len(_addresses(AUTO, {**env, "DOCKER_CONTEXT": "default"})) > 1
    assert _addresses(AUTO, {**env, "DOCKER_HOST": "tcp://x:1"}) == ["tcp://x:1"]
    with pytest.raises(ConfigError, match="DOCKER_CONTEXT: there is no Docker context 'gone'"):
        candidates(AUTO, {**env, "DOCKER_CONTEXT": "gone"})
    config.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        candidates(AUTO, env)


def test_no_engine(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="'dokcer' is no engine") as raised:
        candidates(EngineOptions("dokcer"), env)
    assert "kubernetes://CONTEXT/NAMESPACE" in raised.value.fix


async def test_the_first_that_answers(env: dict[str, str], home: Path) -> None:
    # Not --engine docker: this machine may have one at the first usual place.
    podman: dict[str, Any] = {"Components": [{"Name": "Podman Engine"}], "Version": "4.3.1"}
    async with answering(home / "run/podman/podman.sock", **podman) as address:
        engine = await open_engine(EngineOptions("podman"), env)
        await engine.close()
        with pytest.raises(EngineUnreachable) as caught:
            await open_engine(EngineOptions(f"unix://{home}/none.sock"), env)
    assert f"{home}/none.sock" in str(caught.value)
    assert "--engine" in str(caught.value)
    assert address


async def test_asked_for_and_not_there(env: dict[str, str], home: Path) -> None:
    env["DOCKER_HOST"] = f"unix://{home}/gone.sock"
    with pytest.raises(EngineUnreachable, match=r"gone\.sock.*DOCKER_HOST"):
        await open_engine(AUTO, env)


async def test_nothing_listens_there_any_more(env: dict[str, str], home: Path) -> None:
    with pytest.raises(EngineUnreachable, match="refused"):
        await open_engine(EngineOptions("tcp://127.0.0.1:1"), env)
    path = home / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(EngineUnreachable, match="refused"):
        await open_engine(EngineOptions(f"unix://{path}"), env)


async def test_none_found_lists_what_was_tried(env: dict[str, str], home: Path) -> None:
    async with answering(home / "run/podman/podman.sock", ApiVersion="1.12"):
        with pytest.raises(EngineTooOld):  # found, and of no use: not passed over in silence
            await open_engine(EngineOptions("podman"), env)
    tried = [Candidate(f"unix://{home}/{name}.sock", "usual socket") for name in "ab"]
    with pytest.raises(EngineUnreachable, match=r"tried .*a\.sock, .*b\.sock") as caught:
        await open_first(tried, AUTO, env)
    assert "install" in caught.value.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_no_permission_says_what_to_do(env: dict[str, str], home: Path) -> None:
    home.chmod(0o755)
    async with answering(home / "engine.sock") as address:
        (home / "engine.sock").chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(EngineUnreachable, match="no permission") as caught:
                await open_engine(EngineOptions(address), env)
        finally:
            os.seteuid(0)
    assert "group" in caught.value.fix
    assert "sudo" in caught.value.fix
    assert "rootless" in caught.value.fix


async def test_too_old(env: dict[str, str], home: Path) -> None:
    async with answering(home / "e.sock", ApiVersion="1.39", Version="18.09.1") as address:
        with pytest.raises(EngineTooOld, match=r"18\.09\.1 speaks version 1\.39.*1\.40 is needed"):
            await open_engine(EngineOptions(address), env)
    old: dict[str, Any] = {
        "Components": [{"Name": "Podman Engine"}],
        "Version": "3.4.4",
        "ApiVersion": "1.40",
    }
    async with answering(home / "p.sock", **old) as address:
        with pytest.raises(EngineTooOld, match=r"Podman 3\.4\.4, 4\.0 is needed"):
            await open_engine(EngineOptions(address), env)


@pytest.mark.parametrize("body", [b"<html>a router's page</html>", b"[1]", b'{"version": 1}'])
async def test_what_is_no_engine(env: dict[str, str], home: Path, body: bytes) -> None:
    async with answering(home / "e.sock", body=body) as address:
        with pytest.raises(EngineError, match="is no container engine") as caught:
            await open_engine(EngineOptions(address), env)
    assert "--engine" in caught.value.fix


@pytest.mark.parametrize(
    ("oldest", "spoken"),
    [("1.24", "1.43"), (None, "1.43"), ("1.44", "1.44")],  # Docker 28, Podman, Docker 29.0
)
async def test_newer_than_we_know_is_spoken_to_as_we_know(
    env: dict[str, str], home: Path, oldest: str | None, spoken: str
) -> None:
    said: dict[str, Any] = {"ApiVersion": "1.52", "Version": "29.0", "MinAPIVersion": oldest}
    async with (
        answering(home / "e.sock", **said) as address,
        await open_engine(EngineOptions(address), env) as engine,
    ):
        assert (await engine.info()).api_version == spoken


@pytest.mark.parametrize(
    ("address", "fix"),
    [("ssh://me@far", "ssh -nNT -L"), ("npipe:////./pipe/docker_engine", "unix://")],
)
async def test_addresses_that_we_can_not_use_name_another_way(
    env: dict[str, str], address: str, fix: str
) -> None:
    with pytest.raises(NotSupported) as caught:
        await open_engine(EngineOptions(address), env)
    assert fix in caught.value.fix


@pytest.mark.parametrize("address", ["tcp://", "tcp://host:port"])
async def test_addresses_that_are_none(env: dict[str, str], address: str) -> None:
    with pytest.raises(ConfigError, match="no host and port"):
        await open_engine(EngineOptions(address), env)
