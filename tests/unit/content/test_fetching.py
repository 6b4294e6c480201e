"""Fetching from strangers: what is whole appears, and of what is not, nothing stays."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.content import blocks
from tests.unit.content.blocks import Blocks, link

from lading.content import fetching
from lading.content.adding import CHUNK, add_path
from lading.content.cid import RAW, Cid
from lading.content.fetching import Fetched, fetch
from lading.errors import ContentError, ContentNotFound, ContentRefused, FileMissing, InputError

LIMIT = 1 << 24


@pytest.fixture
def source() -> Blocks:
    return Blocks()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where to fetch to: it, or nothing, is there afterwards."""
    folder = tmp_path / "into"
    folder.mkdir()
    yield folder / "target"
    assert {path.name for path in folder.iterdir()} <= {"target"}


async def refused(source: Blocks, cid: Cid, target: Path, why: str, limit: int = LIMIT) -> None:
    with pytest.raises(ContentRefused, match=why):
        await fetch(source, cid, target, timeout=5, limit=limit)
    assert not os.path.lexists(target)


async def test_a_folder_comes_back_as_it_was(source: Blocks, target: Path, tmp_path: Path) -> None:
    task = tmp_path / "task"
    (task / "src/inner").mkdir(parents=True)
    (task / "empty").mkdir()
    (task / "src/app.py").write_text("print()")
    (task / "src/inner/large").write_bytes(os.urandom(3 * CHUNK + 5))
    (task / "nothing in it").touch()
    (task / "日本語").symlink_to("src/inner/large")
    added = await asyncio.to_thread(add_path, task, source.sink)
    told: list[int] = []
    fetched = await fetch(source, added.cid, target, limit=LIMIT, timeout=5, progress=told.append)
    assert fetched == Fetched(added.size, added.files)
    done = subprocess.run(["diff", "-r", "--no-dereference", task, target], check=False)
    assert done.returncode == 0
    assert told == sorted(told)
    assert told[-1] >= added.size
    assert oct(target.stat().st_mode) == oct(task.stat().st_mode)


async def test_a_single_file(source: Blocks, target: Path) -> None:
    cid = source.put(b"only this", RAW)
    assert await fetch(source, cid, target, limit=LIMIT, timeout=5) == Fetched(9, 1)
    assert target.read_bytes() == b"only this"


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.binary(max_size=30),
        lambda inner: st.dictionaries(
            st.text("abäж漢 .-_", min_size=1, max_size=8).filter(lambda name: name[0] != "."),
            inner,
            max_size=5,
        ),
        max_leaves=15,
    )
)
async def test_every_tree_comes_back(tree: bytes | dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Blocks()
        plant(Path(folder, "one"), tree)
        added = await asyncio.to_thread(add_path, Path(folder, "one"), source.sink)
        await fetch(source, added.cid, Path(folder, "two"), limit=LIMIT, timeout=5)
        again = await asyncio.to_thread(add_path, Path(folder, "two"))
        assert again == added


def plant(path: Path, tree: object) -> None:
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    assert isinstance(tree, dict)
    path.mkdir()
    for name, inner in tree.items():
        plant(path / name, inner)


async def test_several_blocks_at_once_and_not_too_many(source: Blocks, target: Path) -> None:
    cid = source.put(blocks.folder(*(link(source.put(b"%d" % n, RAW), f"{n}") for n in range(200))))
    assert (await fetch(source, cid, target, limit=LIMIT, timeout=5)).files == 200
    assert 2 < source.at_once <= 16


async def test_a_sharded_folder(source: Blocks, target: Path) -> None:
    one, two = source.put(b"1", RAW), source.put(b"22", RAW)
    below = source.put(blocks.shard(link(one, "00one"), link(two, "FFtwo")))
    inner = source.put(blocks.shard(link(two, "0Ain it")))
    cid = source.put(blocks.shard(link(below, "A0"), link(inner, "A1inner"), link(one, "FFthree")))
    assert await fetch(source, cid, target, limit=LIMIT, timeout=5) == Fetched(6, 4)
    assert (target / "two").read_bytes() == b"22"
    assert (target / "inner/in it").read_bytes() == b"22"


async def test_a_mode_that_was_recorded(source: Blocks, target: Path) -> None:
    inner = blocks.field(1, 2) + blocks.field(2, b"#!/bin/sh") + blocks.field(3, 9)
    cid = source.put(blocks.node((), inner + blocks.field(7, 0o4755)))
    await fetch(source, cid, target, limit=LIMIT, timeout=5)
    assert target.stat().st_mode & 0o7111 == 0o111  # executable, and nothing more


# Wrong blocks.


@pytest.mark.parametrize("which", ["root", "leaf", "middle"])
async def test_a_wrong_block(which: str, source: Blocks, target: Path, tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task/large").write_bytes(os.urandom(2 * CHUNK))
    added = await asyncio.to_thread(add_path, tmp_path / "task", source.sink)

    def wrong(cid: Cid) -> bool:
        if cid == added.cid:
            return which == "root"
        return which == ("leaf" if cid.codec == RAW else "middle")

    def change(cid: Cid, block: bytes) -> bytes:
        return block[:-1] + bytes((block[-1] ^ 1,)) if wrong(cid) else block

    source.change = change
    await refused(source, added.cid, target, "another hash")


async def test_a_block_that_nobody_has(source: Blocks, target: Path) -> None:
    missing = Cid.of(b"missing")
    cid = source.put(blocks.folder(link(source.put(b"x", RAW), "a"), link(missing, "b")))
    with pytest.raises(ContentNotFound, match=str(missing)):
        await fetch(source, cid, target, limit=LIMIT, timeout=5)
    assert not target.exists()


async def test_a_block_that_never_comes(source: Blocks, target: Path) -> None:
    class Slow(Blocks):
        async def block(self, cid: Cid) -> bytes:
            if cid == slow:
                await asyncio.get_running_loop().create_future()
            return await super().block(cid)

    slow = Cid.of(b"slow")
    source = Slow()
    cid = source.put(blocks.folder(link(source.put(b"x", RAW), "a"), link(slow, "b")))
    with pytest.raises(ContentNotFound, match=f"{slow} did not come in 50 ms"):
        await fetch(source, cid, target, limit=LIMIT, timeout=0.05)
    assert not target.exists()

    task = asyncio.create_task(fetch(source, cid, target, limit=LIMIT, timeout=60))
    while slow not in source.asked and len(source.asked) < 4:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# What leads elsewhere.


async def test_no_name_leads_outside(source: Blocks, target: Path) -> None:
    secret = source.put(b"gotcha", RAW)
    for name in ("../x", "a/b", "", "..", ".", "/tmp/x", "a\0"):
        await refused(source, source.put(blocks.folder(link(secret, name))), target, "is refused")


async def test_names_that_are_there_twice(source: Blocks, target: Path) -> None:
    one, two = source.put(b"1", RAW), source.put(b"2", RAW)
    twice = source.put(blocks.folder(link(one, "a"), link(two, "a")))
    await refused(source, twice, target, "two entries are called 'a'")
    # In two parts of a sharded folder, which nobody sees together.
    parts = [source.put(blocks.shard(link(cid, "00a"))) for cid in (one, two)]
    cid = source.put(blocks.shard(link(parts[0], "00"), link(parts[1], "01")))
    await refused(source, cid, target, "two entries of a folder are called 'a'")
    # A link, and a folder of that name to write through it.
    out = source.put(blocks.symlink(b"."))
    parts = [
        source.put(blocks.shard(link(out, "00a"))),
        source.put(blocks.shard(link(source.put(blocks.folder(link(one, "x"))), "00a"))),
    ]
    cid = source.put(blocks.shard(link(parts[0], "00"), link(parts[1], "01")))
    await refused(source, cid, target, "two entries of a folder are called 'a'")


@pytest.mark.parametrize(
    "leads", [b"/etc/passwd", b"..", b"../..", b"src/../../x", b"up/..", b"./up/../../x"]
)
async def test_links_that_lead_outside(leads: bytes, source: Blocks, target: Path) -> None:
    up = source.put(blocks.symlink(b".."))  # inside where it is, below src
    src = source.put(blocks.folder(link(up, "up")))
    entries = [link(source.put(blocks.symlink(leads)), "link"), link(src, "src")]
    entries.append(link(source.put(blocks.symlink(b"src/up")), "up"))
    cid = source.put(blocks.folder(*entries))
    await refused(source, cid, target, "the symbolic link 'link' leads outside, to ")


async def test_a_link_alone(source: Blocks, target: Path) -> None:
    await refused(source, source.put(blocks.symlink(b"x")), target, "no file or folder")


# What has no end.


async def test_sizes_that_lie(source: Blocks, target: Path) -> None:
    piece = source.put(b"12345", RAW)
    huge = source.put(blocks.file([(piece, 1 << 50)]))
    await refused(source, huge, target, "larger than the limit of 16 MiB")
    for said in (4, 6):
        cid = source.put(blocks.file([(piece, said), (piece, 5)]))
        await refused(source, cid, target, f"has 5 bytes, and is said to have {said}")
    inner = source.put(blocks.file([(piece, 5), (piece, 5)]))
    cid = source.put(blocks.file([(inner, 9)]))
    await refused(source, cid, target, "has 10 bytes, and is said to have 9")
    none = source.put(b"", RAW)
    await refused(source, source.put(blocks.file([(none, 0)] * 3)), target, "without bytes")
    folder = source.put(blocks.folder())
    await refused(source, source.put(blocks.file([(folder, 5)])), target, "said to have 5")
    await refused(
        source, source.put(blocks.shard(link(piece, "00"))), target, "no part of a folder"
    )


async def test_a_folder_of_folders_of_folders(source: Blocks, target: Path) -> None:
    """A few blocks that hold 1000 to the power of 10 entries: it ends at the limit."""
    cid = source.put(b"", RAW)
    for _ in range(10):
        cid = source.put(blocks.folder(*(link(cid, f"{number}") for number in range(1000))))
    await refused(source, cid, target, "larger than the limit of 1 MiB", limit=1 << 20)
    assert len(source.asked) < 1000


async def test_too_many_files(
    source: Blocks, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MOST_ENTRIES", 100)
    empty = source.put(b"", RAW)
    cid = source.put(blocks.folder(*(link(empty, f"{number}") for number in range(100))))
    await refused(source, cid, target, "more than 100 files and folders")


async def test_too_deep(source: Blocks, target: Path) -> None:
    cid = source.put(blocks.folder())
    for _ in range(250):
        cid = source.put(blocks.folder(link(cid, "d")))
    await refused(source, cid, target, "more than 200 folders")
    cid = source.put(b"x", RAW)
    for _ in range(30):
        cid = source.put(blocks.file([(cid, 1)]))
    await refused(source, cid, target, "lies below more than 16")
    cid = source.put(blocks.shard())
    for _ in range(30):
        cid = source.put(blocks.shard(link(cid, "00")))
    await refused(source, cid, target, "lies below more than 16")


async def test_a_path_too_long_for_this_machine(source: Blocks, target: Path) -> None:
    cid = source.put(b"x", RAW)
    for _ in range(20):
        cid = source.put(blocks.folder(link(cid, "d" * 255)))
    await refused(source, cid, target, "can't be made here")


async def test_limits_on_bytes(source: Blocks, target: Path) -> None:
    cid = source.put(bytes(1000), RAW)
    await refused(source, cid, target, "larger than the limit", limit=999)
    assert (await fetch(source, cid, target, limit=1000, timeout=5)).size == 1000


async def test_other_codecs(source: Blocks, target: Path) -> None:
    await refused(source, source.put(b"\xa0", 0x71), target, "neither raw nor dag-pb")


# Where it is written.


async def test_what_is_there_stays(source: Blocks, target: Path, tmp_path: Path) -> None:
    cid = source.put(b"new", RAW)
    target.write_bytes(b"old")
    with pytest.raises(InputError, match="is there already"):
        await fetch(source, cid, target, limit=LIMIT, timeout=5)
    assert target.read_bytes() == b"old"
    target.unlink()
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is there already"):
        await fetch(source, cid, target, limit=LIMIT, timeout=5)
    with pytest.raises(FileMissing, match="no such folder"):
        await fetch(source, cid, tmp_path / "no/target", limit=LIMIT, timeout=5)
    assert source.asked == []


async def test_a_disk_that_is_full(source: Blocks, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(3 << 20))
    added = await asyncio.to_thread(add_path, tmp_path / "large", source.sink)
    with pytest.raises(ContentError, match="No space left on device") as raised:
        await fetch(source, added.cid, small_disk / "target", limit=LIMIT, timeout=5)
    assert raised.value.fix == "make room"
    assert list(small_disk.iterdir()) == []
