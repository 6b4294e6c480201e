"""Where fetched tasks lie meanwhile, and what an image's labels declare."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

import pytest

from lading.contracts.meca.fetched import declared, forget_dead, work_folder
from lading.contracts.meca.request import TaskLimits
from lading.engine import ImageInfo
from lading.errors import ContentError, ContentRefused
from lading.run.ownership import Owner
from lading.testing import FakeImage
from lading.units import MIB


async def _nothing(_: object) -> int:
    return 0


def image(**labels: str) -> ImageInfo:
    made = FakeImage(
        "a:1", _nothing, labels={f"lading.{key}": text for key, text in labels.items()}
    )
    return made.info(("a:1",), ())


async def test_many_at_once_each_have_a_folder_of_their_own(tmp_path: Path) -> None:
    owner = await asyncio.to_thread(Owner.claim, tmp_path)
    places: list[Path] = []

    async def one() -> None:
        async with work_folder(owner) as place:
            await asyncio.to_thread((place / "task").mkdir)
            places.append(place)

    async def again_and_again() -> None:
        for _ in range(200):  # so that the last of some leave while others come
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(again_and_again())
    assert len(places) == 600
    assert not await asyncio.to_thread(os.listdir, tmp_path / "fetched")
    await asyncio.to_thread(owner.release)


async def test_what_the_dead_left_is_removed_and_nothing_of_the_living(tmp_path: Path) -> None:
    owner = await asyncio.to_thread(Owner.claim, tmp_path)
    dead = tmp_path / "fetched" / ("0" * 32) / "x"
    await asyncio.to_thread(dead.mkdir, parents=True)
    async with work_folder(owner) as place:
        removed = await asyncio.to_thread(forget_dead, tmp_path)
        assert removed == [str(dead.parent)]
        assert await asyncio.to_thread(place.is_dir)
    await asyncio.to_thread(owner.release)


async def test_no_place_for_it(tmp_path: Path) -> None:
    owner = await asyncio.to_thread(Owner.claim, tmp_path)
    await asyncio.to_thread((tmp_path / "fetched").write_text, "a file is in the way")
    with pytest.raises(ContentError, match="no folder for what is fetched"):
        async with work_folder(owner):
            pass
    await asyncio.to_thread(owner.release)


@pytest.mark.parametrize(
    ("label", "limits"),
    [
        ("", TaskLimits()),
        (" ", TaskLimits()),
        ("{}", TaskLimits()),
        ('{"resource": {"cpu": 0.5, "memory": 64}}', TaskLimits(0.5, 64 * MIB)),
        ('{"resource": {"use_gpu": true, "use_sgx": true}}', TaskLimits(gpus=1, sgx=True)),
    ],
)
def test_what_a_label_declares(label: str, limits: TaskLimits) -> None:
    assert declared(image(config=label)) == limits
    assert declared(dataclasses.replace(image(), labels={})) == TaskLimits()


@pytest.mark.parametrize(
    "label", ["no JSON", "3", '{"resource": 3}', '{"resource": {"cpu": -1}}', "[" * 100_000, "[]"]
)
def test_a_label_that_cannot_be_used(label: str) -> None:
    with pytest.raises(ContentRefused, match=r"the label lading\.config of the image"):
        declared(image(config=label))
