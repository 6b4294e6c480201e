"""Images as archives: out of an engine and into it."""

from __future__ import annotations

import io
import tarfile

import pytest
from tests.conformance.conftest import Make, Pieces, context
from tests.support.containers import output

from lading.engine import Engine
from lading.errors import EngineError, ImageNotFound


async def test_saved_and_loaded(engine: Engine, image: str, make: Make, tag: str) -> None:
    text = f'FROM {image}\nLABEL saved={tag}\nCMD ["echo", "loaded"]\n'
    built = await engine.build(context({"Dockerfile": text}), tag)
    async with engine.save(tag) as pieces:
        archive = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = tar.getnames()
    assert "manifest.json" in names
    assert f"{built.id.removeprefix('sha256:')}.json" in names
    await engine.remove_image(tag)
    loaded = await engine.load(Pieces(archive, size=10_000))
    assert loaded.id == built.id
    assert any(name.endswith(tag) for name in loaded.tags)
    container = await make(image=tag)
    await container.wait()
    assert await output(container) == (b"loaded\n", b"")


async def test_saved_and_loaded_without_a_name(engine: Engine, image: str, tag: str) -> None:
    text = f"FROM {image}\nLABEL nameless={tag}\n"
    built = await engine.build(context({"Dockerfile": text}), tag)
    async with engine.save(built.id) as pieces:
        archive = b"".join([piece async for piece in pieces])
    await engine.remove_image(tag)
    try:
        loaded = await engine.load(Pieces(archive, size=10_000))
        assert loaded.id == built.id
        assert (await engine.image(built.id)).labels["nameless"] == tag
    finally:
        await engine.remove_image(built.id)
    with pytest.raises(ImageNotFound):
        await engine.image(built.id)


@pytest.mark.usefixtures("keeps_images")
async def test_what_can_not_be_saved_or_loaded(engine: Engine, image: str) -> None:
    with pytest.raises(ImageNotFound):
        async with engine.save("lading-test/absent:1"):
            pass
    async with engine.save(image) as pieces:
        archive = b"".join([piece async for piece in pieces])
    for junk in (b"", b"no archive at all", archive[: len(archive) // 2]):
        with pytest.raises(EngineError, match="loading an image failed"):
            await engine.load(Pieces(junk, size=10_000))
    with pytest.raises(OSError, match="mine"):
        await engine.load(Pieces(archive, size=10_000, fails=OSError(5, "mine")))


@pytest.mark.usefixtures("keeps_images")
async def test_who_reads_an_image_may_fail_or_stop(engine: Engine, image: str) -> None:
    async def write() -> None:
        async with engine.save(image) as pieces:
            async for _ in pieces:
                raise OSError(28, "the disk is full")

    with pytest.raises(OSError, match="disk"):
        await write()
    async with engine.save(image) as pieces:
        async for _ in pieces:
            break
    assert (await engine.image(image)).id  # and the engine answers on
