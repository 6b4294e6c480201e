"""A CID that a node made in its own way is that of the folder here, or it isn't."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.content import blocks
from tests.unit.content.blocks import Blocks, link

from lading.content.adding import add_path
from lading.content.cid import RAW, Cid
from lading.content.confirming import confirm
from lading.errors import ContentNotFound, ContentRefused


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder with a large one in it, which has a link to the folder beside it."""
    task = tmp_path / "task"
    (task / "src").mkdir(parents=True)
    (task / "src/app.py").write_text("x")
    (task / "large").mkdir()
    for number in range(1100):
        (task / "large" / f"{number}").write_text(f"{number}")
    (task / "large/link").symlink_to("../src/app.py")
    (task / "large/sub").mkdir()
    (task / "large/sub/link").symlink_to("../../src")
    return task


def made(source: Blocks, task: Path, changed: dict[str, Cid] | None = None) -> Cid:
    """Its blocks as a node may shard it: by the first character of the name."""
    entries = {f"{n}": source.put(b"%d" % n, RAW) for n in range(1100)}
    entries["link"] = source.put(blocks.symlink(b"../src/app.py"))
    entries["sub"] = add_path(task / "large/sub", within=task).cid
    entries.update(changed or {})
    parts = {}
    for first in {name[0] for name in entries}:
        inner = [(name, cid) for name, cid in entries.items() if name[0] == first]
        listed = [link(cid, f"{at % 256:02X}{name}") for at, (name, cid) in enumerate(inner[:256])]
        rest = [link(cid, f"{at:02X}{name}") for at, (name, cid) in enumerate(inner[256:])]
        if rest:
            listed[255] = link(source.put(blocks.shard(*rest, listed[255])), "FF")
        parts[first] = source.put(blocks.shard(*listed))
    large = source.put(
        blocks.shard(*(link(cid, f"{at:02X}") for at, cid in enumerate(parts.values())))
    )
    src = add_path(task / "src", source.sink).cid
    return source.put(blocks.folder(link(large, "large"), link(src, "src")))


async def test_it_is(task: Path) -> None:
    source = Blocks()
    await confirm(source, await asyncio.to_thread(made, source, task), task)
    assert len(source.asked) < 30  # what lists entries, and no entry


@pytest.mark.parametrize(
    "change",
    [
        lambda task: (task / "large/7").write_text("8"),
        lambda task: (task / "large/7").unlink(),
        lambda task: (task / "large/new").touch(),
        lambda task: (task / "src/app.py").write_text("y"),
        lambda task: (task / "large/sub/new").touch(),
        lambda task: ((task / "large/link").unlink(), (task / "large/link").symlink_to("7")),
        lambda task: (task / "new").touch(),
    ],
    ids=range(7),
)
async def test_it_is_not(change: Callable[[Path], object], task: Path) -> None:
    source = Blocks()
    cid = await asyncio.to_thread(made, source, task)
    await asyncio.to_thread(change, task)
    with pytest.raises(ContentRefused, match=r"under that CID"):
        await confirm(source, cid, task)


async def test_what_a_node_may_say(task: Path) -> None:
    source = Blocks()
    with pytest.raises(ContentRefused, match="is a file, no part of a folder"):
        await confirm(source, source.put(b"x", RAW), task)
    with pytest.raises(ContentNotFound):
        await confirm(source, Cid.of(b"nothing"), task)
    part = source.put(blocks.shard(link(source.put(b"x", RAW), "00x")))
    twice = source.put(blocks.shard(link(part, "00"), link(part, "01")))
    with pytest.raises(ContentRefused, match="another entry is called 'x'"):
        await confirm(source, twice, task)
    deep = source.put(blocks.shard())
    for _ in range(30):
        deep = source.put(blocks.shard(link(deep, "00")))
    with pytest.raises(ContentRefused, match="no part of a folder"):
        await confirm(source, deep, task)
