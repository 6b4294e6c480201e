"""What an image offers, read out of it on real engines, and kept by its id."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.processing.documents import CONTAINER, changed
from tests.support.processing import Images

from lading.contracts.processing import CONTAINER_FILE
from lading.contracts.processing.image import offered_by
from lading.contracts.processing.template import ProcessingContainer
from lading.engine import Engine
from lading.engine.discovery import open_engine
from lading.errors import FileInvalid, ImageFileNotFound
from lading.settings import EngineOptions

pytestmark = pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
FILE = CONTAINER_FILE.lstrip("/")


@pytest.fixture
async def engine(engine_host: str) -> AsyncIterator[Engine]:
    async with await open_engine(EngineOptions(engine=engine_host)) as opened:
        yield opened


@pytest.fixture
def images(engine_host: str, test_id: str) -> Iterator[Images]:
    made = Images(engine_host, test_id)
    yield made
    made.remove()


class Reader:
    """Reads what an image offers, as commands do."""

    def __init__(self, engine: Engine, state: Path, labels: dict[str, str]) -> None:
        self._engine = engine
        self._state = state
        self._labels = labels

    async def __call__(self, name: str) -> tuple[ProcessingContainer, list[str]]:
        image = await self._engine.image(name)
        return await offered_by(
            self._engine, image, name=name, state=self._state, labels=self._labels
        )


@pytest.fixture
def read(engine: Engine, tmp_path: Path, test_labels: dict[str, str]) -> Reader:
    return Reader(engine, tmp_path, test_labels)


def bytes_of(document: Any) -> bytes:
    return json.dumps(document).encode()


async def test_it_is_read_and_kept_by_the_images_id(
    read: Reader, images: Images, tmp_path: Path
) -> None:
    name = images("tool:1", {FILE: b"\xef\xbb\xbf" + bytes_of(changed(CONTAINER, "more", 1))})
    offered, warnings = await read(name)
    assert [one.identifier for one in offered.templates] == ["smooth"]
    (warning,) = warnings
    assert warning.startswith(f"{name}:{CONTAINER_FILE}:1:")
    (kept,) = (tmp_path / "containers").iterdir()
    assert images.id().endswith(kept.name)
    assert await read(name) == (offered, warnings), "from the disk, the same"


async def test_a_tag_that_moves_is_read_again(read: Reader, images: Images) -> None:
    name = images("tool:1", {FILE: bytes_of(CONTAINER)})
    assert (await read(name))[0].name == "tool"
    images("tool:1", {FILE: bytes_of(changed(CONTAINER, "name", "newer"))})
    assert (await read(name))[0].name == "newer"


async def test_a_state_directory_that_can_not_be_written_costs_time_only(
    engine: Engine, images: Images, test_labels: dict[str, str]
) -> None:
    name = images("tool:1", {FILE: bytes_of(CONTAINER)})
    offered, _ = await Reader(engine, Path("/proc/nowhere"), test_labels)(name)
    assert offered.name == "tool"


async def test_an_image_without_the_file_is_no_processing_container(
    read: Reader, images: Images
) -> None:
    name = images("tool:1", {"other.json": b"{}"})
    with pytest.raises(ImageFileNotFound, match=f"holds no {CONTAINER_FILE}") as caught:
        await read(name)
    assert "COPY processing-container.json /" in caught.value.fix
    assert caught.value.image == name


async def test_a_file_that_is_wrong_is_told_with_image_line_and_path(
    read: Reader, images: Images
) -> None:
    name = images("bad:1", {FILE: bytes_of(changed(CONTAINER, "templates.0.identifier", 1))})
    with pytest.raises(FileInvalid) as caught:
        await read(name)
    (finding,) = caught.value.findings
    assert finding.startswith(f"{name}:{CONTAINER_FILE}:1:")
    assert "templates[0].identifier: must be a text" in finding
    name = images("latin:1", {FILE: b'{"name": "\xe4"}'})
    with pytest.raises(FileInvalid, match="is no UTF-8"):
        await read(name)


async def test_strangers_images_are_told_nothing_of_the_environment(
    read: Reader, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADING_TEST_SECRET", "s3cret")
    leak = "{{ env.LADING_TEST_SECRET }}"
    assert "LADING_TEST_SECRET" in os.environ
    document = changed(CONTAINER, "templates.0.env.0.value", leak)
    document = changed(document, "templates.0.env.0.choices", [])
    offered, _ = await read(images("leak:1", {FILE: bytes_of(document)}))
    assert offered.templates[0].env[0].value == leak
