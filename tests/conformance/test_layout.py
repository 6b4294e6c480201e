"""An image as an OCI layout, and back into an engine: the same image, under no name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import Make, context
from tests.support import engines
from tests.support.containers import output

from lading.content.adding import add_path
from lading.content.layout import is_layout, read_layout, write_layout
from lading.engine import Engine
from lading.errors import ContentRefused, ImageNotFound


@pytest.fixture
def tag(engine_kind: str, test_id: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for an image that is removed after the test."""
    name = f"lading-test/layout-{test_id}:1"
    yield name
    if engine_kind != "fake":
        host = request.getfixturevalue(f"{engine_kind}_host")
        engines.call(host, "DELETE", f"/images/{name}?force=1")


@pytest.fixture
async def built(engine: Engine, image: str, tag: str) -> str:
    text = f'FROM {image}\nLABEL layout={tag}\nCMD ["echo", "from a layout"]\n'
    return (await engine.build(context({"Dockerfile": text}), tag)).id


async def written(engine: Engine, image: str, target: Path) -> str:
    async with engine.save(image) as archive:
        return await write_layout(archive, target, {"org.opencontainers.image.title": "a task"})


async def test_there_and_back(
    engine: Engine, tag: str, built: str, make: Make, tmp_path: Path
) -> None:
    digest = await written(engine, tag, tmp_path / "one")
    assert await asyncio.to_thread(is_layout, tmp_path / "one")
    # Again, and by another name of it, it is the same to the last byte.
    assert await written(engine, built, tmp_path / "two") == digest
    cids = {(await asyncio.to_thread(add_path, tmp_path / name)).cid for name in ("one", "two")}
    assert len(cids) == 1
    await engine.remove_image(tag)
    with pytest.raises(ImageNotFound):
        await engine.image(tag)
    loaded = await engine.load(read_layout(tmp_path / "one"))
    assert loaded.id == built
    assert loaded.tags == ()  # whoever made the layout has no say in what it is called
    await engine.tag(loaded.id, tag)
    assert (await engine.image(tag)).labels["layout"] == tag
    container = await make(image=tag)
    await container.wait()
    assert await output(container) == (b"from a layout\n", b"")


async def test_what_is_in_it(engine: Engine, tag: str, built: str, tmp_path: Path) -> None:
    digest = await written(engine, tag, tmp_path / "one")
    index = json.loads((tmp_path / "one/index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [digest]
    assert index["manifests"][0]["platform"]["os"] == "linux"
    blobs = tmp_path / "one/blobs/sha256"
    manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())
    assert manifest["config"]["digest"] == built
    assert manifest["annotations"] == {"org.opencontainers.image.title": "a task"}
    parts = [manifest["config"], *manifest["layers"]]
    for part in parts:
        assert (blobs / part["digest"].removeprefix("sha256:")).stat().st_size == part["size"]
    assert len({part["digest"] for part in parts}) + 1 == len(list(blobs.iterdir()))


async def test_a_part_that_was_changed_is_not_loaded(
    engine: Engine, tag: str, built: str, tmp_path: Path
) -> None:
    digest = await written(engine, tag, tmp_path / "one")
    blobs = tmp_path / "one/blobs/sha256"
    manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())
    layer = blobs / manifest["layers"][-1]["digest"].removeprefix("sha256:")
    content = bytearray(layer.read_bytes())
    content[len(content) // 2] ^= 1
    layer.write_bytes(content)
    await engine.remove_image(tag)

    async def watched() -> AsyncIterator[bytes]:
        async for piece in read_layout(tmp_path / "one"):
            yield piece

    with pytest.raises(ContentRefused, match="is not what its address says"):
        await engine.load(watched())
    with pytest.raises(ImageNotFound):
        await engine.image(built)
