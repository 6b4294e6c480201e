"""Files, ports and usage of containers on a real cluster, where they aren't those of an engine."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support import cluster
from tests.support.cluster import TOOLS

from lading.engine import Container, ContainerSpec, Engine, Mount
from lading.engine.discovery import open_engine
from lading.errors import EngineError, NotSupported
from lading.settings import engine_options

pytestmark = pytest.mark.kubernetes


@pytest.fixture
async def engine(kubernetes_host: str) -> AsyncIterator[Engine]:
    async with await open_engine(engine_options({"engine": kubernetes_host})) as found:
        yield found


@pytest.fixture
async def make(engine: Engine, test_labels: dict[str, str]) -> AsyncIterator[Callable[..., Any]]:
    made: list[Container] = []

    async def make_one(script: str, **spec: Any) -> Container:
        values = {"image": TOOLS, "command": ("sh", "-c", script), "labels": test_labels, **spec}
        made.append(await engine.create(ContainerSpec(**values)))
        await made[-1].start()
        return made[-1]

    yield make_one
    for container in made:
        await container.remove()


async def output(container: Container) -> str:
    return b"".join([chunk.data async for chunk in container.logs()]).decode()


def archive(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            tar.addfile(entry, io.BytesIO(content.encode()))
    return buffer.getvalue()


def names(data: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return set(tar.getnames())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """What is read, and where results go."""
    given, results = tmp_path / "given", tmp_path / "results"
    (given / "sub").mkdir(parents=True)
    (given / "sub" / "text").write_text("hello")
    (given / "large").write_bytes(os.urandom(3_000_000))
    results.mkdir()
    (results / "old").write_text("old")
    (results / "gone").write_text("gone")
    return given, results


@pytest.mark.parametrize("user", [None, "1000:1000"])
async def test_directories_are_copied_in_and_back(
    make: Callable[..., Any], folders: tuple[Path, Path], user: str | None
) -> None:
    given, results = folders
    if user is not None:
        results.chmod(0o777)
    mounts = (Mount(str(given), "/given"), Mount(str(results), "/results", read_only=False))
    container = await make(
        "cat /given/sub/text; cat /given/large >/results/large; busybox rm /results/gone;"
        "echo new >/results/old; busybox id -u; echo x >/given/no",
        mounts=mounts,
        user=user,
    )
    ended = await container.wait()
    assert ended.code == 1
    said = await output(container)
    assert f"hello{'1000' if user else '0'}\n" in said
    assert "Read-only file system" in said
    assert {path.name for path in results.iterdir()} == {"old", "large"}
    assert (results / "old").read_text() == "new\n"
    assert (results / "large").read_bytes() == (given / "large").read_bytes()


async def test_one_file_is_copied_in_and_back(make: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("before ")
    mounts = (Mount(str(tmp_path / "f"), "/etc/some.conf", read_only=False),)
    container = await make("cat /etc/some.conf; echo after >>/etc/some.conf", mounts=mounts)
    assert (await container.wait()).code == 0
    assert await output(container) == "before "
    assert (tmp_path / "f").read_text() == "before after\n"


async def test_what_does_not_come_back_by_itself_is_there_until_the_end(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    mounts = (Mount(str(tmp_path), "/work", read_only=False, returns=False),)
    container = await make("until [ -e /work/in/go ]; do sleep 0.1; done; echo r >/work/result",
                           mounts=mounts)  # fmt: skip
    await container.put("/work", archive({"in/go": "x"}))
    assert (await container.wait()).code == 0
    assert not list(tmp_path.iterdir())
    assert names(await container.get("/work/result")) == {"result"}
    assert names(await container.get("/work")) == {"work", "work/result", "work/in", "work/in/go"}
    with pytest.raises(FileNotFoundError, match="/work/none"):
        await container.get("/work/none")
    with pytest.raises(FileNotFoundError, match="/work/none"):
        await container.put("/work/none", archive({"x": ""}))


async def test_a_disk_that_is_full_when_results_come_back(
    make: Callable[..., Any], folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the other: the pod is told of no success, and we don't hang."""
    _, results = folders

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lading.engine.kubernetes.files.unpack", full)
    mounts = (Mount(str(results), "/results", read_only=False),)
    container = await make("echo x >/results/x", mounts=mounts)
    with pytest.raises(EngineError, match="can't be written here: No space left on device"):
        await container.wait()


async def test_files_of_a_container_that_runs(make: Callable[..., Any]) -> None:
    container = await make("sleep 600")
    await container.put("/tmp", archive({"a/b": "text"}))
    assert names(await container.get("/tmp/a")) == {"a", "a/b"}
    with pytest.raises(FileNotFoundError):
        await container.get("/tmp/none")
    await container.kill()
    await container.wait()
    with pytest.raises(EngineError):
        await container.get("/tmp/a")


async def test_an_image_without_tar(make: Callable[..., Any]) -> None:
    container = await make("", command=None, args=("sleep", "600"), image="lading-test/probe:1")
    with pytest.raises(NotSupported, match="takes tar in its image"):
        await container.get("/data")
    with pytest.raises(NotSupported, match="takes sh, head and tar in its image"):
        await container.put("/data", archive({"x": ""}))


async def test_a_directory_of_the_node(
    kubernetes_host: str, tmp_path: Path, test_labels: dict[str, str]
) -> None:
    """The node is this machine: what is mounted is the same directory."""
    options = {"engine": kubernetes_host, "cluster_files": f"/elsewhere=node:{tmp_path}"}
    async with await open_engine(engine_options(options)) as engine:
        info = await engine.info()
        assert info.shared == ("/elsewhere",)
        mounts = (Mount("/elsewhere", "/work", read_only=False),)
        container = await engine.create(
            ContainerSpec(
                TOOLS, command=("sh", "-c", "echo x >/work/x"), mounts=mounts, labels=test_labels
            )
        )
        try:
            await container.start()
            assert (await container.wait()).code == 0
            assert (tmp_path / "x").read_text() == "x\n"
            spec = await asyncio.to_thread(cluster.pod, kubernetes_host, container.name)
            assert "initContainers" not in spec["spec"]
        finally:
            await container.remove()


async def test_a_port(make: Callable[..., Any]) -> None:
    container = await make("", command=None, args=("serve",))
    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectionRefusedError, match="nothing listens on port 9 "):
        await container.connect(9)
    answers = []
    for _ in range(2):
        while True:
            try:
                sock = await container.connect(8080)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)
        with sock:
            await loop.sock_sendall(sock, b"GET /health HTTP/1.0\r\n\r\n")
            answers.append(await loop.sock_recv(sock, 1000))
    assert [answer.split(b"\r\n")[0].split()[1] for answer in answers] == [b"200", b"200"]
    many = await asyncio.gather(*(container.connect(8080) for _ in range(5)))
    for sock in many:
        sock.close()
    await container.kill()
    await container.wait()
    with pytest.raises(ConnectionError):
        await container.connect(8080)


async def test_what_it_uses(make: Callable[..., Any]) -> None:
    container = await make("busybox yes >/dev/null & sleep 600")
    while not (found := await container.stats()).cpu_seconds:
        await asyncio.sleep(1)
    assert found.memory > 0
    assert container.stats_interval == 15
