from __future__ import annotations

import asyncio
import io
import socket
import tarfile
import time
from collections.abc import Iterator

import pytest
from tests.conformance.conftest import ABSENT, Make, context
from tests.support import engines
from tests.support.containers import output

from lading.engine import Container, ContainerSpec, Engine, PullStatus
from lading.errors import (
    BuildFailed,
    ImageFileNotFound,
    ImageNameInvalid,
    ImageNotFound,
    ImagePullFailed,
)

MALFORMED = ["", "Upper/Case:1", "two words", ":1", "a:b:c", "-a", "a@sha256:12", "a/b:"]


async def test_an_image_that_is_there(engine: Engine, image: str) -> None:
    info = await engine.image(image)
    assert info.id.startswith("sha256:")
    assert len(info.id) == 71
    assert any(tag.endswith(image) for tag in info.tags)
    assert info.entrypoint == ("/probe",)
    assert info.command == ("serve",)
    assert info.env["PROBE"] == "1"
    assert info.labels["lading.test"] == "probe"
    assert info.exposed == (8080,)
    assert info.size > 0


async def test_an_image_by_its_id(engine: Engine, image: str) -> None:
    by_name = await engine.image(image)
    assert (await engine.image(by_name.id)).id == by_name.id


async def test_an_image_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(ImageNotFound, match="lading-test/absent:1") as caught:
        await engine.image("lading-test/absent:1")
    assert caught.value.image == "lading-test/absent:1"
    assert caught.value.fix
    with pytest.raises(ImageNotFound):
        await engine.create(ContainerSpec("lading-test/absent:1"))
    with pytest.raises(ImageNotFound):
        await engine.read_file("lading-test/absent:1", "/x")


@pytest.mark.parametrize("ref", MALFORMED)
async def test_a_malformed_name(engine: Engine, ref: str) -> None:
    with pytest.raises(ImageNameInvalid):
        await engine.image(ref)
    with pytest.raises(ImageNameInvalid):
        await engine.pull(ref)
    with pytest.raises(ImageNameInvalid):
        await engine.create(ContainerSpec(ref))


async def test_pulling_from_a_registry_that_does_not_answer(engine: Engine) -> None:
    seen: list[PullStatus] = []
    with pytest.raises(ImagePullFailed, match="localhost:1"):
        await engine.pull(ABSENT, seen.append)


async def test_a_file_out_of_an_image(
    engine: Engine, image: str, test_labels: dict[str, str]
) -> None:
    assert await engine.read_file(image, "/data/hello.txt") == b"hello\n"
    assert await engine.read_file(image, "data/hello.txt") == b"hello\n"


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_a_file_behind_links(engine: Engine, image: str, tag: str) -> None:
    archive = io.BytesIO(context({"Dockerfile": f"FROM {image}\nCOPY links /links\n"}))
    with tarfile.open(fileobj=archive, mode="a") as tar:
        for name, target in [
            ("file", "../data/hello.txt"),
            ("again", "/links/file"),
            ("circle", "circle"),
            ("none", "nowhere"),
        ]:
            link = tarfile.TarInfo(f"links/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    await engine.build(archive.getvalue(), tag)
    assert await engine.read_file(tag, "/links/file") == b"hello\n"
    assert await engine.read_file(tag, "/links/again") == b"hello\n"
    for name in ("circle", "none"):
        with pytest.raises(ImageFileNotFound, match=f"/links/{name}"):
            await engine.read_file(tag, f"/links/{name}")


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_reading_a_file_has_a_helper_that_a_sweep_would_find(
    engine: Engine, image: str, test_labels: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ContainerSpec] = []
    create = engine.create

    async def watched(spec: ContainerSpec) -> Container:
        seen.append(spec)
        return await create(spec)

    monkeypatch.setattr(engine, "create", watched)
    await engine.read_file(image, "/data/hello.txt", labels=test_labels)
    assert [spec.labels for spec in seen] == [test_labels]
    assert await engine.containers(test_labels) == []


@pytest.mark.parametrize("path", ["/data/none.txt", "/none/hello.txt", "/data"])
async def test_a_file_that_the_image_lacks(engine: Engine, image: str, path: str) -> None:
    with pytest.raises(ImageFileNotFound, match=path):
        await engine.read_file(image, path)


@pytest.fixture
def tag(engine_kind: str, test_id: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for an image that is removed after the test."""
    name = f"lading-test/built-{test_id}:1"
    yield name
    if engine_kind != "fake":
        host = request.getfixturevalue(f"{engine_kind}_host")
        engines.call(host, "DELETE", f"/images/{name}?force=1")


async def test_building_an_image(engine: Engine, make: Make, image: str, tag: str) -> None:
    text = f'FROM {image}\nARG WORD\nLABEL word=${{WORD}}\nCMD ["echo", "built"]\n'
    seen: list[PullStatus] = []
    info = await engine.build(
        context({"Dockerfile": text}),
        tag,
        args={"WORD": "lading"},
        labels={"who": "tests"},
        progress=seen.append,
    )
    assert info.command == ("echo", "built")
    assert info.labels["word"] == "lading"
    assert info.labels["who"] == "tests"
    assert (await engine.image(tag)).id == info.id
    assert any("FROM" in status.text for status in seen)
    container = await make(image=tag)
    await container.wait()
    assert await output(container) == (b"built\n", b"")


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_volumes_that_an_image_asks_for_go_with_the_container(
    engine: Engine,
    make: Make,
    image: str,
    tag: str,
    engine_kind: str,
    request: pytest.FixtureRequest,
) -> None:
    host = request.getfixturevalue(f"{engine_kind}_host")
    text = f"FROM {image}\nVOLUME /kept\n"
    await engine.build(context({"Dockerfile": text}), tag)
    container = await make("write", "/kept/x", "x", image=tag)
    assert (await container.wait()).code == 0
    _, found = engines.call(host, "GET", f"/containers/{container.id}/json")
    [volume] = [mount["Name"] for mount in found["Mounts"]]
    assert engines.call(host, "GET", f"/volumes/{volume}")[0] == 200
    await container.remove()
    assert engines.call(host, "GET", f"/volumes/{volume}")[0] == 404


async def test_where_the_programs_of_an_image_start(engine: Engine, image: str, tag: str) -> None:
    assert (await engine.image(image)).directory == ""
    text = f"FROM {image}\nWORKDIR /data\n"
    info = await engine.build(context({"Dockerfile": text}), tag)
    assert info.directory == "/data"
    assert (await engine.image(tag)).directory == "/data"


async def test_a_build_that_fails_says_why(engine: Engine, image: str, tag: str) -> None:
    text = f"FROM {image}\nCOPY nothing /there\n"
    with pytest.raises(BuildFailed, match="nothing"):
        await engine.build(context({"Dockerfile": text}), tag)


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_the_steps_of_a_build_have_a_network_of_their_own_or_none(
    engine: Engine, image: str, tag: str
) -> None:
    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    def step(address: str, port: int) -> bytes:
        text = (
            f'FROM {image}\nENV N={time.time()}\nRUN ["/probe", "connect", "{address}", "{port}"]'
        )
        return context({"Dockerfile": text})  # never from the builder's cache

    here = _own_address()
    async with await asyncio.start_server(end, "0.0.0.0", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await engine.build(step(here, port), tag)
        unreached = "exit (code|status) 7"  # the probe's
        with pytest.raises(BuildFailed, match=unreached):
            await engine.build(step("127.0.0.1", port), tag)  # which is not the host's
        with pytest.raises(BuildFailed, match=unreached):
            await engine.build(step(here, port), tag, network=False)


def _own_address() -> str:
    """An address of this machine that others reach it at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a way
        return str(any_socket.getsockname()[0])


async def test_a_build_without_a_dockerfile(engine: Engine, tag: str) -> None:
    with pytest.raises(BuildFailed, match="Dockerfile"):
        await engine.build(context({"other": ""}), tag)
