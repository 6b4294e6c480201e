from __future__ import annotations

import asyncio
import io
import socket
import tarfile
import time
from pathlib import Path

import pytest
from tests.conformance.conftest import ABSENT, Make, Pieces, context
from tests.conformance.differences import Unlike
from tests.support import engines
from tests.support.containers import output

from lading.engine import Container, ContainerSpec, Engine, PullStatus
from lading.errors import (
    BuildFailed,
    ConfigError,
    EngineError,
    ImageFileNotFound,
    ImageNameInvalid,
    ImageNotFound,
    ImagePullFailed,
    ImagePushFailed,
)
from lading.run.build_context import Context

MALFORMED = ["", "Upper/Case:1", "two words", ":1", "a:b:c", "-a", "a@sha256:12", "a/b:"]


async def test_an_image_that_is_there(engine: Engine, image: str, unlike: Unlike) -> None:
    info = await engine.image(image)
    assert info.id.startswith("sha256:")
    assert len(info.id) == 71
    assert any(tag.endswith(image) for tag in info.tags)
    if unlike("no images"):
        return
    assert info.entrypoint == ("/probe",)
    assert info.command == ("serve",)
    assert info.env["PROBE"] == "1"
    assert info.labels["lading.test"] == "probe"
    assert info.exposed == (8080,)
    assert info.size > 0


async def test_an_image_by_its_id(engine: Engine, image: str) -> None:
    by_name = await engine.image(image)
    assert (await engine.image(by_name.id)).id == by_name.id


async def test_an_image_that_is_not_there(engine: Engine, unlike: Unlike) -> None:
    with pytest.raises(ImageNotFound, match="lading-test/absent:1") as caught:
        await engine.image("lading-test/absent:1")
    assert caught.value.image == "lading-test/absent:1"
    assert caught.value.fix
    if unlike("no images"):
        return  # its nodes ask a registry as they make a container: see test_clusters.py
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


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_a_build_that_fails_names_the_step_and_shows_its_last_lines(
    engine: Engine, image: str, tag: str
) -> None:
    text = f"""FROM {image}
LABEL run={tag}
RUN ["/probe", "echo", "of another step"]
RUN ["/probe", "nonsense"]
RUN ["/probe", "echo", "never"]
"""
    seen: list[PullStatus] = []
    with pytest.raises(BuildFailed) as caught:
        await engine.build(context({"Dockerfile": text}), tag, progress=seen.append)
    first, *last = caught.value.message.splitlines()
    assert '"nonsense"' in first
    assert first.endswith("failed: exit code 64; its last lines:")
    assert last[0].startswith("probe VERB:")  # all that this step wrote, and nothing else
    assert len(last) == 5
    assert any("of another step" in status.text for status in seen)
    assert not any("never" in status.text for status in seen if "RUN" not in status.text)


async def test_a_context_in_pieces(engine: Engine, image: str, tag: str) -> None:
    text = f"FROM {image}\nLABEL pieces=yes\n"
    info = await engine.build(Pieces(context({"Dockerfile": text})), tag)
    assert info.labels["pieces"] == "yes"


@pytest.mark.parametrize("error", [ConfigError("x", "can't be read"), OSError(5, "I/O error")])
async def test_a_context_that_can_not_be_read_to_its_end(
    engine: Engine, image: str, tag: str, error: Exception
) -> None:
    broken = Pieces(context({"Dockerfile": f"FROM {image}\n"})[:1024], fails=error)
    with pytest.raises(type(error)) as caught:
        await engine.build(broken, tag)
    assert caught.value is error
    with pytest.raises(ImageNotFound):
        await engine.image(tag)


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_a_build_that_is_cancelled(engine: Engine, image: str, tag: str) -> None:
    text = f'FROM {image}\nLABEL run={tag}\nRUN ["/probe", "sleep", "2"]\nLABEL done=yes\n'
    works = asyncio.Event()

    def tell(status: PullStatus) -> None:
        if '"sleep"' in status.text:
            works.set()

    building = asyncio.create_task(engine.build(context({"Dockerfile": text}), tag, progress=tell))
    await works.wait()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    with pytest.raises(ImageNotFound):
        await engine.image(tag)
    # And the engine builds on.
    info = await engine.build(context({"Dockerfile": f"FROM {image}\nLABEL run={tag}\n"}), tag)
    assert info.labels["run"] == tag


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_a_stage_and_a_platform(engine: Engine, image: str, tag: str) -> None:
    text = f"FROM {image} AS first\nLABEL at=first\nFROM first\nLABEL at=second\n"
    files = {"Dockerfile": text}
    assert (await engine.build(context(files), tag)).labels["at"] == "second"
    info = await engine.build(context(files), tag, target="first", platform="linux/amd64")
    assert info.labels["at"] == "first"
    assert info.architecture == "amd64"
    with pytest.raises(BuildFailed, match="third"):
        await engine.build(context(files), tag, target="third")


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_names_in_any_script_in_a_context(
    engine: Engine, image: str, tag: str, tmp_path: Path
) -> None:
    folder = tmp_path / "Aufgabe \N{SNOWMAN}"
    names = [
        "grün.txt",
        "数据/输入.txt",
        "данные.txt",
        "a b'c\"d.txt",
        "\N{GRINNING FACE}",
        "x" * 200,
    ]
    for name in names:
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).write_text(name)
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY src /src\n")
    await engine.build(Context(folder), tag)
    for name in names:
        assert await engine.read_file(tag, f"/src/{name}") == name.encode()


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
@pytest.mark.parametrize("first", ["0" * 150, "'\N{SNOWMAN}"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_context_whose_first_name_is_long_or_not_ascii(
    engine: Engine, image: str, tag: str, tmp_path: Path, first: str, streamed: bool
) -> None:
    (tmp_path / first).write_text("first")  # sorts before the Dockerfile
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nCOPY . /all/\n")
    whole = b"".join([piece async for piece in Context(tmp_path)])
    assert whole[156:157] == b"x", "an extended header comes first"
    await engine.build(Context(tmp_path) if streamed else whole, tag)
    assert await engine.read_file(tag, f"/all/{first}") == b"first"


async def test_another_name(engine: Engine, image: str, tag: str) -> None:
    first = await engine.image(image)
    await engine.tag(image, tag)
    assert (await engine.image(tag)).id == first.id
    await engine.tag(first.id, tag)  # again, and by its id
    await engine.remove_image(tag)
    with pytest.raises(ImageNotFound):
        await engine.image(tag)
    assert (await engine.image(image)).id == first.id
    await engine.remove_image(tag)  # nothing to do
    with pytest.raises(ImageNotFound):
        await engine.tag("lading-test/absent:1", tag)
    with pytest.raises(ImageNameInvalid):
        await engine.tag(image, "Upper/Case")
    with pytest.raises(ImageNameInvalid):
        await engine.tag(image, f"me/x@sha256:{'0' * 64}")


async def test_a_name_of_an_image_in_use(engine: Engine, make: Make, image: str, tag: str) -> None:
    await engine.build(context({"Dockerfile": f"FROM {image}\nLABEL used={tag}\n"}), tag)
    await make(image=tag, start=False)
    other = tag.replace(":1", ":2")
    await engine.tag(tag, other)
    await engine.remove_image(other)  # only a name of several
    with pytest.raises(EngineError, match="remov"):
        await engine.remove_image(tag)
    assert (await engine.image(tag)).labels["used"] == tag


@pytest.mark.usefixtures("keeps_images")
async def test_pushing_to_a_registry_that_does_not_answer(engine: Engine, image: str) -> None:
    await engine.tag(image, ABSENT)
    try:
        with pytest.raises(ImagePushFailed, match="localhost:1"):
            await engine.push(ABSENT)
    finally:
        await engine.remove_image(ABSENT)


async def test_a_build_without_a_dockerfile(engine: Engine, tag: str) -> None:
    with pytest.raises(BuildFailed, match="Dockerfile"):
        await engine.build(context({"other": ""}), tag)
